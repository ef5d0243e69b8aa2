"""Errors that carry the repair: what was given, what is allowed, what to type instead."""

import difflib
from collections.abc import Iterable


class RasedError(ValueError):
    """A mistake in what the caller gave; the command line prints it as one sentence and exits with 2."""


class ProblemsFound(RasedError):
    """The work ran and found problems in the data or the results; the command line exits with 1."""


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Return a sentence that names the known spellings nearest to `name`, or all of them where none is near.

    >>> nearest("gtcnr", ["gtcrn", "log-mmse"])
    "did you mean 'gtcrn'?"
    """
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=count, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(f"'{choice}'" for choice in close) + "?"
    if not choices:
        return "there are none yet."
    return "known: " + ", ".join(choices) + "."

"""Error classes, and helpers for messages that say what was given, what is allowed and what to type."""

import difflib
import reprlib
from collections.abc import Iterable, Iterator
from typing import Any

_LONGEST_WORD = 64
"""Only this many characters of a misspelt name are compared with the known names."""
_SHOWN = 80

_repr = reprlib.Repr()
# What reprlib shows of a value: levels, characters and items.
_repr.maxlevel, _repr.maxstring, _repr.maxother, _repr.maxlong = 2, _SHOWN, _SHOWN, 24
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = 3


class RasedError(ValueError):
    """A mistake in the caller's input. The command line prints it as one sentence and exits with 2."""


class ProblemsFound(RasedError):
    """The work ran but found problems in the data or the results. The command line exits with 1."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what caused it or was being handled when it was raised, and so on.

    >>> [str(link) for link in causes(ValueError("no causes"))]
    ['no causes']
    """
    link: BaseException | None = error
    seen: set[int] = set()  # a chain may be a circle
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def worker_died(error: BaseException) -> bool:
    """Return whether the death of a data loader process caused an error.

    PyTorch raises it in a signal handler: in the middle of any statement, whose own error handling may wrap it.
    """
    return any("DataLoader worker" in str(link) for link in causes(error))


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Return a phrase that suggests the known names closest to `name`, or lists all of them if none is close.

    >>> nearest("gtcnr", ["gtcrn", "log-mmse"])
    "did you mean 'gtcrn'?"
    """
    choices = sorted(known)
    close = difflib.get_close_matches(str(name)[:_LONGEST_WORD], choices, n=count, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(f"'{choice}'" for choice in close) + "?"
    if not choices:
        return "there are none yet."
    return "known: " + ", ".join(choices) + "."


def shown(value: Any) -> str:
    """Format any value for an error message: one line, cut after about 80 characters.

    >>> shown(["a"] * 1000)
    "['a', 'a', 'a', ...]"
    """
    if isinstance(value, int) and value.bit_length() > 128:
        # Python refuses to print very long integers.
        return f"a number of {value.bit_length()} bits"
    text = _repr.repr(value)
    return text if len(text) <= 2 * _SHOWN else f"{text[: 2 * _SHOWN]}..."


def cut(text: str, length: int = 200) -> str:
    """Format text from outside for an error message: one line, no control characters, cut to `length`.

    >>> cut("two    words")
    'two words'
    """
    line = " ".join(str(text)[: 8 * length].split())  # cut before, too: the text may be huge
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= length else f"{line[:length]}..."

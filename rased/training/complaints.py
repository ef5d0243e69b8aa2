"""Convert errors of Lightning's command-line parser to one sentence."""

import re

from rased.errors import RasedError, causes


def as_rased_error(error: Exception) -> RasedError:
    """Return the RasedError that jsonargparse has wrapped, or its own message as one.

    Values that its message repeats, and the types that it tried, are left out.
    """
    for cause in causes(error):
        if isinstance(cause, RasedError):
            return cause
    return RasedError(_sentence(str(error)))


def _sentence(report: str) -> str:
    """Condense a report of several lines to one sentence: the key, its value, what it must be."""
    keys = re.findall(r'Parser key "([^"]+)"', report)
    reasons = re.findall(r"Expected a (.+?)(?:\. Got value: (.*))?$", report, re.MULTILINE)
    if not keys or not reasons:
        return " ".join(report.split())
    # For a union, only some of the tried types repeat the value.
    exact = next(((kind, value) for kind, value in reasons if value), None)
    if exact is None:
        given = re.findall(r"Given value: (.*)$", report, re.MULTILINE)
        exact = (" or ".join(kind for kind, _ in reasons), given[-1] if given else "something else")
    kind = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", exact[0]).replace("NoneType", "null")
    kind = re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", kind)
    # "Parser key" comes once for each level, the outermost first.
    return f"{'.'.join(keys).removeprefix('object.')} is {exact[1]}; it must be {kind}."

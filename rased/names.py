"""Validate names that come from files before they become part of a path."""

import re
from typing import Any

from rased.errors import RasedError, shown

_LONGEST = 200
"""Maximum bytes in UTF-8: with the suffix of an unfinished file, the name still fits the 255 of file systems."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def component(name: Any, *, what: str) -> str:
    """Return a name that is safe as one component of a path: it cannot lead into another folder.

    Letters of any script, spaces and punctuation are allowed. Slashes, backslashes, a leading dot,
    line breaks and unprintable characters are not.

    Args:
        name: the name from the file.
        what: subject of the error message, such as "the name of the test set 'x/testset.json'".

    Raises:
        RasedError: the name is not allowed.

    >>> component("p232_001", what="the id of item 1")
    'p232_001'
    """
    if isinstance(name, str):
        whole = name.isprintable() and name.strip() == name and len(name.encode()) <= _LONGEST
        if name and whole and name[0] != "." and not set(name) & set("/\\"):
            return name
    raise _refused(
        name,
        what,
        f"a name of 1 to {_LONGEST} bytes without '/', '\\', line breaks or a dot at the beginning",
    )


def is_plain(name: Any) -> bool:
    """Return whether `plain` accepts a name."""
    return isinstance(name, str) and len(name) <= _LONGEST and bool(_PLAIN.fullmatch(name))


def plain(name: Any, *, what: str) -> str:
    """Return a name of letters, digits, '.', '_' and '-' that begins with a letter or a digit.

    Args:
        name: the name from the file.
        what: subject of the error message.

    Raises:
        RasedError: the name is not allowed.

    >>> plain("gru-mask-16k", what="the name of the card")
    'gru-mask-16k'
    """
    if is_plain(name):
        return str(name)
    raise _refused(
        name,
        what,
        f"a name of at most {_LONGEST} letters, digits, '.', '_' and '-' that begins with a letter "
        "or a digit",
    )


def _refused(name: Any, what: str, allowed: str) -> RasedError:
    return RasedError(f"{what} is {shown(name)}; it must be {allowed}.")

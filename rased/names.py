"""Names that come out of files: one plain part of a path, or refused."""

import re
from typing import Any

from rased.errors import RasedError, shown

_LONGEST = 200
"""Bytes of UTF-8: with the ending of an unfinished file it still fits a file system's 255."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def component(name: Any, *, what: str) -> str:
    """Return a name that is safe as one part of a path: it never leads into another folder.

    Letters of any script, spaces and punctuation are allowed. Slashes, backslashes, a dot at the
    beginning, line breaks and other characters that cannot be printed are not.

    Args:
        name: what a file says.
        what: words for the message, such as "the name of the test set 'x/testset.json'".

    Raises:
        RasedError: it is not such a name.

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


def plain(name: Any, *, what: str) -> str:
    """Return a name of letters, digits, '.', '_' and '-' that begins with a letter or a digit.

    Args:
        name: what a file says.
        what: words for the message.

    Raises:
        RasedError: it is not such a name.

    >>> plain("gru-mask-16k", what="the name of the card")
    'gru-mask-16k'
    """
    if isinstance(name, str) and len(name) <= _LONGEST and _PLAIN.fullmatch(name):
        return name
    raise _refused(
        name,
        what,
        f"a name of at most {_LONGEST} letters, digits, '.', '_' and '-' that begins with a letter "
        "or a digit",
    )


def _refused(name: Any, what: str, allowed: str) -> RasedError:
    return RasedError(f"{what} is {shown(name)}; it must be {allowed}.")

"""Read the columns of an index.json piece by piece into compact arrays, without Python objects for all rows."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from rased import documents
from rased.errors import RasedError, cut, shown

Kind = Literal["number", "small", "key", "split", "label", "hash", "length"]
"""Kind of a column: integers of 0 or more (int64, or "small": the smallest type that fits); strings (UTF-8 bytes):
keys, which are one safe component of a path without dots, splits, which are words, and labels, which are one line;
hashes (32 bytes, from 64 hexadecimal digits); or only its length."""

_PIECE = 1 << 18
_LONGEST = 1 << 20
_BEGIN = b',"columns":{'
_NAME = re.compile(rb'"(\w+)":\[')
_HEX = 64
_LARGEST_HEAD = 64 << 20
"""Maximum bytes before the columns, and of an index in another layout."""
_Numbers = list[Annotated[int, msgspec.Meta(ge=0, le=2**53)]]
_TYPES: dict[Kind, Any] = {
    **dict.fromkeys(("key", "split", "label", "hash"), list[str]),
    **dict.fromkeys(("number", "small"), _Numbers),
    "length": list[int | str],
}
KEY = rf"\A[^./\\ {documents.NOT_IN_A_LINE}]{{1,200}}\Z"
SPLIT = r"\A[A-Za-z0-9_]{1,100}\Z"
LABEL = rf"\A[^{documents.NOT_IN_A_LINE}]{{0,1000}}\Z"
_STRINGS = {
    "key": (re.compile(KEY), "1 to 200 characters without . / \\ and spaces"),
    "split": (re.compile(SPLIT), "letters, digits and underscores"),
    "label": (re.compile(LABEL), "one line of at most 1000 characters"),
}


class Names:
    """Strings in an array of fixed-size UTF-8 bytes, as long as the longest string.

    Attributes:
        encoded: the UTF-8 bytes; they sort like the strings.
    """

    def __init__(self, encoded: NDArray[Any]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self.encoded)

    def __getitem__(self, place: Any) -> Any:
        """Return one string, or several for a slice or an array."""
        found = self.encoded[place]
        return found.decode() if isinstance(found, bytes) else Names(found)

    def __iter__(self) -> Iterator[str]:
        """Yield the strings."""
        return (name.decode() for name in self.encoded)

    def tolist(self) -> list[str]:
        """Return all strings as a list."""
        return list(self)


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate arrays; a single one is returned without a copy."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Column:
    """A column while it is read: its parts are collected in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._parts: list[NDArray[Any]] = []

    def append(self, part: NDArray[Any]) -> None:
        """Add the next values."""
        self._parts.append(part)

    def whole(self) -> NDArray[Any]:
        """Return all values."""
        return joined(self._parts)


def read_columns(
    path: Path,
    kinds: Mapping[str, Kind],
    *,
    optional: Collection[str] = (),
    repair: str,
    column: Callable[[str], Column] = Column,
) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Return the content of an index.json without its columns, as plain values, and the columns.

    A file in another layout than that of `shards.write_index` is read, too, but all at once.

    Args:
        path: the index.
        kinds: kind of each wanted column, see `Kind`.
        optional: columns that may be missing.
        repair: sentence for error messages: what to do if the file cannot be read.
        column: returns what collects the values of a column, by its name.

    Raises:
        RasedError: the file is missing or damaged, lacks a column, or a column has values that its kind does
        not allow.
    """
    with _opened(path, repair) as stream:
        try:
            return _in_pieces(stream, kinds, optional, path, repair, column)
        except _OtherLayoutError:
            stored = _whole(path, repair)
    columns = stored.pop("columns", None)
    if not isinstance(columns, dict):
        raise RasedError(f"'{path}' is damaged: the field `columns` is missing. {repair}")
    found = {}
    for name, kind in kinds.items():
        if name not in columns and name in optional:
            continue
        if name not in columns:
            raise RasedError(
                f"'{path}' is damaged: the field `columns.{name}` is missing. {repair}"
            )
        with _explained(path, name, repair):
            collected = column(name)
            collected.append(_small(msgspec.convert(columns[name], _TYPES[kind]), kind))
            found[name] = collected.whole()
    return stored, found


def read_head(path: Path, *, repair: str) -> Any:
    """Return the content of an index.json without its columns; in the layout of `shards.write_index` they are not read.

    Raises:
        RasedError: the file is missing or damaged.
    """
    with _opened(path, repair) as stream:
        try:
            return _parsed(_head(stream)[0], path, repair)
        except _OtherLayoutError:
            stored = _whole(path, repair)
    stored.pop("columns", None)
    return stored


class _OtherLayoutError(Exception):
    """The layout of the file is not that of `shards.write_index`."""


@contextmanager
def _opened(path: Path, repair: str) -> Iterator[IO[bytes]]:
    if not path.is_file():
        raise RasedError(f"The file '{path}' does not exist. {repair}")
    try:
        stream = path.open("rb")
    except OSError as error:
        raise RasedError(
            f"'{path}' cannot be read: {(error.strerror or str(error)).lower()}. {repair}"
        ) from error
    with stream:
        yield stream


def _whole(path: Path, repair: str) -> dict[str, Any]:
    """Return the whole content of a file in another layout, as plain values."""
    data = documents.read_bytes(path, repair=repair, largest=_LARGEST_HEAD)
    stored = documents.plain(data, of=path, repair=repair)
    if not isinstance(stored, dict):
        raise RasedError(
            f"'{path}' is damaged: the document is {shown(stored)}; expected fields. {repair}"
        )
    return stored


def _parsed(head: bytes, path: Path, repair: str) -> dict[str, Any]:
    stored: dict[str, Any] = documents.plain(head + b"}", of=path, repair=repair)
    return stored


@contextmanager
def _explained(path: Path, name: str, repair: str) -> Iterator[None]:
    """Convert an error in a column to one sentence."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        reason = str(error).partition(" - at ")[0]
        raise RasedError(
            f"'{path}' is damaged in the column '{name}': {cut(reason)}. {repair}"
        ) from None


def _head(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """Return the text before the columns, and the text that was read after it."""
    text = stream.read(_PIECE)
    seen = 0
    # The mark may straddle two reads, so the search begins before the new text.
    while (place := text.find(_BEGIN, max(0, seen - len(_BEGIN)))) < 0:
        seen = len(text)
        more = stream.read(_PIECE)
        if not more or seen > _LARGEST_HEAD:
            raise _OtherLayoutError
        text += more
    return text[:place], text[place + len(_BEGIN) :]


def _in_pieces(
    stream: IO[bytes],
    kinds: Mapping[str, Kind],
    optional: Collection[str],
    path: Path,
    repair: str,
    column: Callable[[str], Column],
) -> tuple[Any, dict[str, NDArray[Any]]]:
    head, text = _head(stream)
    columns: dict[str, NDArray[Any]] = {}
    # One turn for each column: its name, then its values.
    while True:
        # Enough for the name of the next column.
        text += stream.read(256 if len(text) < 256 else 0)
        found = _NAME.match(text)
        name = found[1].decode() if found else ""
        if not found or name not in kinds or name in columns:
            raise _OtherLayoutError
        kind = kinds[name]
        with _explained(path, name, repair):
            collected = column(name)
            text = _array(stream, text[found.end() :], kind, collected)
        columns[name] = collected.whole()
        text += stream.read(256 if len(text) < 256 else 0)
        if not text.startswith(b","):
            break
        text = text[1:]
    lacks = kinds.keys() - columns.keys() - {*optional}
    # Nothing may follow but the ends of `columns` and of the document.
    if (text + stream.read(_PIECE)).strip() != b"}}" or lacks:
        raise _OtherLayoutError
    return _parsed(head, path, repair), columns


def _array(stream: IO[bytes], text: bytes, kind: Kind, column: Column) -> bytes:
    """Collect the values of an array, and return the text that was read after it."""
    some = False
    while True:
        end, closed = _cut(text)
        if end:
            # The values up to the last complete one, as an array of their own.
            values = msgspec.json.decode(b"[%b]" % text[:end], type=_TYPES[kind])
            if values:
                column.append(_small(values, kind))
                some = True
            elif some:
                raise ValueError("a comma is not followed by a value")
        if closed:
            if not some:
                column.append(_small([], kind))
            return text[end + 1 :]
        # Without the comma; `end` is 0 if no value was complete.
        text = text[end + bool(end) :]
        more = stream.read(_PIECE)
        if not more:
            raise _OtherLayoutError
        if len(text) > _LONGEST:
            raise ValueError(f"a value has more than {_LONGEST} bytes")
        text += more


def _cut(text: bytes) -> tuple[int, bool]:
    """Return where the last complete value of an array ends in the text, and whether the array ends there.

    Values are numbers and strings, so the first `]` outside a string ends the array, and a comma outside
    a string ends a value. Escaped quotes are blanked out first; every remaining quote opens or closes a string.
    """
    plain = text.replace(rb"\\", b"__").replace(rb"\"", b"__")
    letters = np.frombuffer(plain, dtype=np.uint8)
    # True where the number of quotes so far is even.
    outside = ~np.logical_xor.accumulate(letters == ord('"'))
    brackets = np.flatnonzero((letters == ord("]")) & outside)
    if len(brackets):
        return int(brackets[0]), True
    commas = np.flatnonzero((letters == ord(",")) & outside)
    return (int(commas[-1]) if len(commas) else 0), False


def _small(values: Sequence[Any], kind: Kind) -> NDArray[Any]:
    """Convert the values of a column to an array, and check them all at once."""
    if kind == "number":
        return np.array(values, dtype=np.int64)
    if kind == "small":
        numbers = np.array(values, dtype=np.int64)
        # Parts of a column may get different types; `np.concatenate` widens them.
        return numbers.astype(np.min_scalar_type(numbers.max(initial=0)))
    if kind == "length":
        # Only its length counts.
        return np.empty(len(values), dtype=np.bool_)
    if kind == "hash":
        digits = "".join(values)
        # All digits are checked at once; only in a bad column is the wrong value looked for.
        if any(len(value) != _HEX for value in values) or not re.fullmatch("[0-9a-f]*", digits):
            wrong = next(v for v in values if not re.fullmatch(f"[0-9a-f]{{{_HEX}}}", v))
            raise ValueError(f"{shown(wrong)} is not a SHA-256 of {_HEX} hexadecimal digits")
        return np.frombuffer(bytes.fromhex(digits), dtype=f"S{_HEX // 2}")
    allowed, words = _STRINGS[kind]
    # Splits and labels repeat, so few values are checked.
    for value in set(values):
        if not allowed.match(value):
            raise ValueError(f"{shown(value)} is not {words}")
    return np.array([value.encode() for value in values], dtype=np.bytes_)


def hexadecimal(hashes: NDArray[Any]) -> Iterator[str]:
    """Yield the hexadecimal digits of 32-byte hashes."""
    # As void: numpy drops the trailing zero bytes of "S32".
    for digest in hashes.view(f"V{_HEX // 2}"):
        yield digest.tobytes().hex()

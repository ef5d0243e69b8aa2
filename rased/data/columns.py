"""The columns of an index out of its JSON file, piece by piece, as small arrays: never all of it as Python objects."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 18
_LONGEST = 1 << 20
_BEGIN = b',"columns":{'
_NAME = re.compile(rb'"(\w+)":\[')
_HEX = 64


class Names:
    """Strings, as many bytes each as the longest has in UTF-8.

    Attributes:
        encoded: in UTF-8; sorted as the strings are.
    """

    def __init__(self, encoded: NDArray[Any]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        """Number of strings."""
        return len(self.encoded)

    def __getitem__(self, place: Any) -> Any:
        """One string, or several by a slice or an array."""
        found = self.encoded[place]
        return found.decode() if isinstance(found, bytes) else Names(found)

    def __iter__(self) -> Iterator[str]:
        """The strings, one at a time."""
        return (name.decode() for name in self.encoded)

    def tolist(self) -> list[str]:
        """All of them as Python strings."""
        return list(self)


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One array behind the other; a single one as it is, not a copy."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_columns(
    path: Path, kinds: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What an index.json says besides its columns, and these.

    A file in another layout than `shards.write_index` gives it is read too, but whole.

    Args:
        path: of the index.
        kinds: of each column that is wanted: "number" (int64), "small" (whole numbers in as few
            bytes as they need), "string" (bytes in UTF-8), "hash" (32 bytes of 64 hexadecimal digits)
            or "length" (nothing but how long it is).

    Raises:
        KeyError, TypeError, ValueError: it is damaged, or lacks a column.
    """
    with path.open("rb") as stream:
        try:
            return _in_pieces(stream, kinds)
        except _OtherLayoutError:
            stream.seek(0)
            stored = json.loads(stream.read())
    columns = stored.pop("columns")
    return stored, {name: _small(columns[name], kind) for name, kind in kinds.items()}


def read_head(path: Path) -> dict[str, Any]:
    """What an index.json says besides its columns; these are not read, where `shards.write_index` wrote it.

    Raises:
        TypeError, ValueError: it is damaged.
    """
    with path.open("rb") as stream:
        try:
            return dict(json.loads(_head(stream)[0] + b"}"))
        except _OtherLayoutError:
            stream.seek(0)
            stored = dict(json.loads(stream.read()))
    stored.pop("columns", None)
    return stored


class _OtherLayoutError(Exception):
    """The file is not laid out as `shards.write_index` does it."""


def _head(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """What lies in front of the columns, and what has been read of them."""
    text = stream.read(_PIECE)
    while _BEGIN not in text:
        more = stream.read(_PIECE)
        if not more:
            raise _OtherLayoutError
        text += more
    head, _, text = text.partition(_BEGIN)
    return head, text


def _in_pieces(
    stream: IO[bytes], kinds: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    head, text = _head(stream)
    columns = {}
    while True:
        text += stream.read(256 if len(text) < 256 else 0)
        name = _NAME.match(text)
        if not name or name[1].decode() not in kinds:
            raise _OtherLayoutError
        kind = kinds[name[1].decode()]
        parts, text = _array(stream, text[name.end() :], kind)
        columns[name[1].decode()] = np.concatenate(parts) if parts else _small([], kind)
        text += stream.read(256 if len(text) < 256 else 0)
        if not text.startswith(b","):
            break
        text = text[1:]
    if (text + stream.read()).strip() != b"}}" or columns.keys() != kinds.keys():
        raise _OtherLayoutError
    return json.loads(head + b"}"), columns


def _array(stream: IO[bytes], text: bytes, kind: str) -> tuple[list[NDArray[Any]], bytes]:
    """The parts of an array, and what has been read of the text behind it."""
    parts: list[NDArray[Any]] = []
    while True:
        end, closed = _cut(text)
        if end:
            values = json.loads(b"[%b]" % text[:end])
            if values:
                parts.append(_small(values, kind))
            elif parts:
                raise ValueError("a comma without a value behind it")
        if closed:
            return parts, text[end + 1 :]
        text = text[end + bool(end) :]
        more = stream.read(_PIECE)
        if not more:
            raise _OtherLayoutError
        if len(text) > _LONGEST:
            raise ValueError(f"a value of more than {_LONGEST} bytes")
        text += more


def _cut(text: bytes) -> tuple[int, bool]:
    """Where the last whole value of an array ends in its text, and whether the array ends there.

    Values are numbers and strings: the first `]` outside a string ends the array, and a comma outside
    one ends a value. Escaped quotes are blanked first, so that each quote left opens or closes a string.
    """
    plain = text.replace(rb"\\", b"__").replace(rb"\"", b"__")
    letters = np.frombuffer(plain, dtype=np.uint8)
    outside = ~np.logical_xor.accumulate(letters == ord('"'))
    brackets = np.flatnonzero((letters == ord("]")) & outside)
    if len(brackets):
        return int(brackets[0]), True
    commas = np.flatnonzero((letters == ord(",")) & outside)
    return (int(commas[-1]) if len(commas) else 0), False


def _small(values: Collection[Any], kind: str) -> NDArray[Any]:
    if kind == "number":
        return np.array(values, dtype=np.int64)
    if kind == "small":
        numbers = np.array(values, dtype=np.int64)
        least = np.promote_types(
            *map(np.min_scalar_type, (numbers.min(initial=0), numbers.max(initial=0)))
        )
        return numbers.astype(least)
    if kind == "length":
        return np.empty(len(values), dtype=np.bool_)
    if kind == "string":
        return np.array([value.encode() for value in values], dtype=np.bytes_)
    if any(len(value) != _HEX for value in values):
        raise ValueError("a hash has not 64 digits")
    return np.frombuffer(bytes.fromhex("".join(values)), dtype=f"S{_HEX // 2}")


def hexadecimal(hashes: NDArray[Any]) -> Iterator[str]:
    """The digits of hashes of 32 bytes."""
    for digest in hashes.view(f"V{_HEX // 2}"):
        yield digest.tobytes().hex()

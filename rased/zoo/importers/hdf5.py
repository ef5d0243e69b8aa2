"""Read float32 tensors from an HDF5 file of Keras weights, byte by byte and without running anything.

Only the part of the format that such files use is supported (HDF5 File Format Specification, version 3.0):
superblock 0, groups with symbol tables, object headers 1, contiguous data. A file with external links, filters or
other types is rejected.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rased import documents
from rased.errors import RasedError

LARGEST = 64 << 20
"""Maximum bytes of a file."""
_MOST, _DEEPEST = 20_000, 16
"""Maximum number of reads in a file, and maximum depth of groups."""
_SPACE, _TYPE, _LAYOUT, _CONTINUED, _GROUP = 1, 3, 8, 16, 17
"""Types of messages in an object header."""
_REFUSED = {2: "new-style groups", 6: "links", 7: "data in other files", 11: "filters"}
_SIGNATURE = b"\x89HDF\r\n\x1a\n\x00"


def read_tables(path: Path) -> dict[str, Tensor]:
    """Return all tensors by their paths, such as `lstm/lstm/kernel:0`.

    Raises:
        RasedError: the file cannot be read, is too large or damaged, or uses unsupported features.
    """
    content = documents.read_bytes(path, repair="Give a file of weights.", largest=LARGEST)
    try:
        return _File(content).tables()
    except (ValueError, KeyError, IndexError, struct.error) as error:
        raise RasedError(f"'{path}' is not an HDF5 file of weights: {error}.") from error


class _File:
    """The bytes of a file, with counters that limit reads and total tensor size (a damaged file may contain loops)."""

    def __init__(self, content: bytes) -> None:
        self.content, self.looked, self.left = content, 0, len(content)

    def tables(self) -> dict[str, Tensor]:
        """Read all tensors, starting at the root group.

        Raises:
            ValueError: the file is damaged or unsupported.
        """
        if not self.content.startswith(_SIGNATURE):
            raise ValueError("its first bytes are not those of a Keras file")
        if self.content[13:15] != b"\x08\x08" or self._number(24):
            raise ValueError("it does not use 8-byte addresses from the start of the file")
        tables: dict[str, Tensor] = {}
        waiting = [("", self._number(64))]
        while waiting:
            name, header = waiting.pop()
            if name.count("/") > _DEEPEST:
                raise ValueError("its groups form a loop")
            messages = dict(self._messages(header))
            for kind, what in _REFUSED.items():
                if kind in messages:
                    raise ValueError(f"'{name}' has {what}")
            if _GROUP in messages:
                tree, heap = struct.unpack_from("<QQ", messages[_GROUP])
                waiting += [
                    (f"{name}/{link}".lstrip("/"), target)
                    for link, target in self._links(tree, heap)
                ]
            elif _LAYOUT in messages:
                tables[name] = self._table(name, messages)
        return tables

    def _table(self, name: str, messages: dict[int, bytes]) -> Tensor:
        shape, kind, layout = _shape(messages[_SPACE]), messages[_TYPE], messages[_LAYOUT]
        if kind[:1] != b"\x11" or kind[1] & 1 or struct.unpack_from("<I", kind, 4)[0] != 4:
            raise ValueError(f"'{name}' is not a tensor of little-endian float32")
        if layout[:2] != b"\x03\x01":
            raise ValueError(f"'{name}' is not stored contiguously")
        place, length = struct.unpack_from("<QQ", layout, 2)
        if length != 4 * int(np.prod(shape, dtype=object)):
            raise ValueError(f"'{name}' has {length} bytes for the shape {shape}")
        # Tensors of a valid file do not overlap, so together they are smaller than the file; damage could make them
        # huge.
        self.left -= length
        if self.left < 0:
            raise ValueError("its tensors overlap")
        values = np.frombuffer(self._piece(place, length), dtype="<f4")
        return torch.from_numpy(values.reshape(shape).copy())

    def _messages(self, header: int) -> Iterator[tuple[int, bytes]]:
        version, _, count = struct.unpack("<BBH", self._piece(header, 4))
        if version != 1:
            raise ValueError(f"an object header has the unsupported version {version}")
        pieces = [(header + 16, self._number(header + 8) & 0xFFFFFFFF)]
        while pieces and count:
            place, end = pieces[0][0], sum(pieces.pop(0))
            while place < end and count:
                kind, size = struct.unpack("<HH", self._piece(place, 4))
                body = self._piece(place + 8, size)
                # A header that has grown continues elsewhere in the file.
                if kind == _CONTINUED:
                    pieces.append(struct.unpack_from("<QQ", body))
                yield kind, body
                place, count = place + 8 + size, count - 1

    def _links(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        if self._piece(heap, 4) != b"HEAP":
            raise ValueError("a group has no names")
        names, waiting = self._number(heap + 24), [tree]
        while waiting:
            node = waiting.pop()
            signature = self._piece(node, 4)
            # TREE: addresses of further nodes. SNOD: entries of 40 bytes, each with the places of a name and an object.
            if signature == b"TREE":
                entries = struct.unpack("<H", self._piece(node + 6, 2))[0]
                waiting += [self._number(node + 32 + 16 * entry) for entry in range(entries)]
            elif signature == b"SNOD":
                entries = struct.unpack("<H", self._piece(node + 6, 2))[0]
                for place in range(node + 8, node + 8 + 40 * entries, 40):
                    yield self._text(names + self._number(place)), self._number(place + 8)
            else:
                raise ValueError("a group is damaged")

    def _text(self, place: int) -> str:
        end = self.content.find(b"\0", place, place + 256)
        if end < 0:
            raise ValueError("a name has no end")
        return self._piece(place, end - place).decode()

    def _number(self, place: int) -> int:
        return int(struct.unpack("<Q", self._piece(place, 8))[0])

    def _piece(self, place: int, length: int) -> bytes:
        self.looked += 1
        if self.looked > _MOST:
            raise ValueError("its structures form a loop")
        if place + length > len(self.content):
            raise ValueError("it is truncated")
        return self.content[place : place + length]


def _shape(space: bytes) -> tuple[int, ...]:
    version, rank = space[0], space[1]
    if version not in (1, 2) or rank > 8:
        raise ValueError(f"a shape has the unsupported version {version} or {rank} axes")
    return struct.unpack_from(f"<{rank}Q", space, 8 if version == 1 else 4)

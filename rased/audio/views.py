"""A file as a decoder is to see it: stretches of the real file and bytes of our own, joined."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import SEEK_CUR, SEEK_END, SEEK_SET
from itertools import accumulate
from typing import Any

from rased.machine import read_at

Piece = bytes | range
"""Bytes, or the positions of a stretch of the file."""


class ByteSource:
    """An open regular file that is read by position, so that any number of readers can share it.

    Attributes:
        descriptor: of the operating system.
        size: bytes.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, start: int, count: int) -> bytes:
        """Return the bytes from `start` on: `count`, or fewer at the end of the file; none outside of it."""
        parts: list[bytes] = []
        if not 0 <= start < self.size:
            return b""
        while count > 0 and (part := read_at(self.descriptor, min(count, 1 << 24), start)):
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return b"".join(parts)


@dataclass
class View:
    """A seekable file object for libsndfile; its callbacks cannot raise, so errors are kept in `error`.

    Attributes:
        source: the real file.
        pieces: what is joined.
        error: the first error of the disk.
    """

    source: ByteSource
    pieces: Sequence[Piece]
    error: OSError | None = None
    _position: int = 0
    _starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._starts = list(accumulate(map(len, self.pieces), initial=0))

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._starts[-1]

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move, within the ends."""
        base = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self.size}[whence]
        self._position = max(0, min(base + offset, self.size))
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there are bytes; return how many."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        found = []
        for piece, start in zip(self.pieces, self._starts, strict=False):
            skip = self._position - start
            if count and 0 <= skip < len(piece):
                data = self._part(piece, skip, min(count, len(piece) - skip))
                found.append(data)
                self._position += len(data)
                count -= len(data)
        return b"".join(found)

    def _part(self, piece: Piece, skip: int, count: int) -> bytes:
        if isinstance(piece, bytes):
            return piece[skip : skip + count]
        try:
            return self.source.read(piece.start + skip, count)
        except OSError as error:
            self.error = self.error or error
            return b""

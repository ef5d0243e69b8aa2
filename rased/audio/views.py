"""Present a file to a decoder as a sequence of pieces of the real file and of other bytes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import SEEK_CUR, SEEK_END, SEEK_SET
from itertools import accumulate
from typing import Any

from rased.machine import read_at

Piece = bytes | range
"""Literal bytes, or a range of positions in the file."""


class ByteSource:
    """An open file that is read by position, so that several readers can share it.

    Attributes:
        descriptor: file descriptor.
        size: size in bytes.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, start: int, count: int) -> bytes:
        """Return `count` bytes from `start`; fewer at the end of the file, none outside of it."""
        parts: list[bytes] = []
        if not 0 <= start < self.size:
            return b""
        while count > 0 and (part := read_at(self.descriptor, min(count, 1 << 24), start)):
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return b"".join(parts)


@dataclass
class View:
    """A seekable file object for libsndfile. Its callbacks cannot raise, so errors are stored in `error`.

    Attributes:
        source: the real file.
        pieces: the pieces that are joined.
        error: the first error of the file system.
    """

    source: ByteSource
    pieces: Sequence[Piece]
    error: OSError | None = None
    _position: int = 0
    _starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        # One more than pieces: the last one is the total.
        self._starts = list(accumulate(map(len, self.pieces), initial=0))

    @property
    def size(self) -> int:
        """Return the total number of bytes."""
        return self._starts[-1]

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move the position, limited to the size."""
        base = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self.size}[whence]
        self._position = max(0, min(base + offset, self.size))
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as possible; return the number of bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, count: int) -> bytes:
        """Return the next bytes; fewer at the end."""
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

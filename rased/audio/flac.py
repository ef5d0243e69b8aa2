"""FLAC: the length in its header, and whether a stream without one ends with a whole frame."""

import re

from rased.audio.views import Source

_TAIL = 1 << 18
_POLYNOMIAL = 0x8005


def announced_samples(head: bytes) -> int | None:
    """Return the samples per channel that the header of a FLAC file promises; None where it does not know."""
    count = int.from_bytes(head[21:26], "big") & ((1 << 36) - 1)
    return count or None


def ends_with_a_frame(source: Source) -> bool:
    """Whether the last bytes of the file are a whole frame: only its checksum can tell where no length is known."""
    tail = source.read(max(0, source.size - _TAIL), _TAIL)
    if tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    starts = [found.start() for found in re.finditer(rb"\xff[\xf8\xf9]", tail)]
    return any(_checksum(tail[start:]) == 0 for start in reversed(starts))


def _row(byte: int) -> int:
    value = byte << 8
    for _ in range(8):
        value = (value << 1 ^ (_POLYNOMIAL if value & 0x8000 else 0)) & 0xFFFF
    return value


_TABLE = tuple(map(_row, range(256)))


def _checksum(frame: bytes) -> int:
    value = 0
    for byte in frame:
        value = (value << 8 & 0xFFFF) ^ _TABLE[value >> 8 ^ byte]
    return value

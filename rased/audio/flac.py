"""Read the length of a FLAC file, and check whether a stream without one ends with a complete frame."""

import re

from rased.audio.views import ByteSource

_TAIL = 1 << 18
_BLOCK = 1 << 20
_POLYNOMIAL = 0x8005


def announced_samples(head: bytes) -> int | None:
    """Return the samples per channel according to the header of a FLAC file; None if it does not know."""
    # STREAMINFO follows 4 bytes of marker and 4 of header; its last 36 bits before the MD5 are the number of samples.
    count = int.from_bytes(head[21:26], "big") & ((1 << 36) - 1)
    return count or None


def streams(source: ByteSource) -> list[range]:
    """Return the streams of a file, several if files were joined: libsndfile reads the first alone.

    Returns:
        The ranges of bytes; nothing if the beginning of the file is damaged.
    """
    starts = []
    at = 0
    while at < source.size:
        block = source.read(at, _BLOCK)
        # Marker and header of STREAMINFO: type 0, perhaps the last block (0x80), 34 bytes.
        starts += [at + found.start() for found in re.finditer(rb"fLaC[\x00\x80]\0\0\x22", block)]
        # Overlap the blocks by seven bytes, so that a marker of eight bytes is found even if it spans two of
        # them.
        at += max(1, len(block) - 7) if at + len(block) < source.size else len(block)
    if starts[:1] != [0]:
        return []
    return [range(a, b) for a, b in zip(starts, [*starts[1:], source.size], strict=True)]


def ends_with_a_frame(source: ByteSource, stream: range) -> bool:
    """Return whether a stream ends with a complete frame: without a known length, only its checksum can tell."""
    start = max(stream.start, stream.stop - _TAIL)
    tail = source.read(start, stream.stop - start)
    # An ID3v1 tag.
    if tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    # These two bytes also occur within frames. The CRC of a complete frame, including its stored CRC, is 0.
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

"""Check containers that state the length of their audio: WAV, RF64, AIFF, AU, CAF, W64, NIST SPHERE, 8SVX, VOC.

libsndfile reads a truncated file as if it were shorter, and a file whose header was never
completed as if it were empty. This module compares the length in the header with the bytes in the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rased.audio.problems import DamagedError
from rased.audio.views import ByteSource, Piece

_UNKNOWN_32 = ((1 << 31) - (1 << 16), (1 << 31) + (1 << 16)), ((1 << 32) - (1 << 16), 1 << 32)
"""Lengths that mean "unknown" in 32 bits, as written by sox, arecord, ffmpeg and others."""
_UNKNOWN_64 = 1 << 62
# WAVE_FORMAT_MPEG (layers 1 and 2) and WAVE_FORMAT_MPEGLAYER3.
_MPEG_TAGS = (0x50, 0x55)
_FOREIGN_TAGS = (
    0x45,
    0x64,
    0x65,
    0xFF,
    0x160,
    0x161,
    0x162,
    0x163,
    0x270,
    0x1600,
    0x1610,
    0x2000,
    0x2001,
)
"""WAV codings that ffmpeg reads, but libsndfile does not: G.726, AAC, Windows Media, ATRAC, AC-3, DTS."""
_HEADER = 1 << 16
"""Headers of these kinds, except for text chunks, fit into this many bytes."""
# More chunks than any file has: the bytes are something else.
_CHUNKS = 10_000
_FILES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"OggS", b"fLaC", b"caff", b".snd", b"NIST")
"""First bytes of a file that may have been appended to another one."""
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


@dataclass(frozen=True)
class Payload:
    """Position and length of the audio in a file.

    Attributes:
        start: position of the first byte.
        announced: bytes according to the header; None if unknown.
        there: bytes from start to the end of the file.
        patches: bytes by position that make libsndfile read everything, if the header does not know the length.
        unfinished: the length in the header is zero, as left by a recorder that crashed.
        mpeg: the audio is an MPEG stream.
        foreign: the coding is not supported by libsndfile.
        chunks: what may follow the audio: chunks with lengths in this byte order, nothing, or unknown.
    """

    start: int
    announced: int | None
    there: int
    patches: dict[int, bytes]
    unfinished: bool = False
    mpeg: bool = False
    foreign: bool = False
    chunks: Literal["little", "big", "none", "unknown"] = "unknown"

    @property
    def cut(self) -> bool:
        """Return whether the file is shorter than the header says."""
        return self.announced is not None and self.announced > self.there


def find_payload(source: ByteSource, head: bytes) -> Payload | None:
    """Return where the audio is; None for another kind of file, or an inconsistent header."""
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _riff(source, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _form(source)
    if head[:4] in (b".snd", b"dns."):
        return _au(source, head)
    if head[:4] == b"caff":
        return _caf(source)
    if head[:16] == _W64_RIFF:
        return _w64(source)
    if head[:7] == b"NIST_1A":
        return _nist(source, head)
    if head[:20] == b"Creative Voice File\x1a":
        return _voc(source, head)
    return None


def patched(source: ByteSource, patches: dict[int, bytes]) -> list[Piece]:
    """Return the file with some bytes replaced."""
    pieces: list[Piece] = []
    at = 0
    for start, data in sorted(patches.items()):
        pieces += [range(at, start), data]
        at = start + len(data)
    return [*pieces, range(at, source.size)]


def left_over(source: ByteSource, payload: Payload) -> int:
    """Return how many bytes after the audio are not text or marker chunks; 0 if the file is in order.

    Raises:
        DamagedError: another file was appended to the first.
    """
    if payload.announced is None or payload.chunks == "unknown":
        return 0
    # Chunks begin at even positions.
    at = payload.start + payload.announced + payload.announced % 2
    rest = source.size - at
    for _ in range(_CHUNKS):
        header = source.read(at, 8)
        if header[:4] in _FILES:
            raise DamagedError(
                f"contains a second file, from byte {at}: split the file, or join recordings with ffmpeg instead"
            )
        if payload.chunks == "none":
            return max(0, rest)
        if len(header) < 8:
            return 0
        if not re.fullmatch(rb"[ -~]{4}", header[:4]):
            return rest
        size = int.from_bytes(header[4:], payload.chunks)
        at += 8 + size + size % 2
        # A missing padding byte at the end is no fault.
        if at > source.size + 1:
            return rest
    return 0


def _chunks(
    source: ByteSource, at: int, order: Literal["little", "big"]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, size and first byte of each chunk in a RIFF or FORM file."""
    for _ in range(_CHUNKS):
        header = source.read(at, 8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], order)
        yield header[:4], size, at + 8
        at += 8 + size + size % 2


def _riff(source: ByteSource, order: Literal["little", "big"]) -> Payload | None:
    long_size: int | None = None
    long_at = 0
    tag = 0
    for name, size, start in _chunks(source, 12, order):
        if name == b"ds64":
            # ds64: 8 bytes for the size of the file, then 8 for that of the audio.
            long_at = start + 8
            long_size = int.from_bytes(source.read(long_at, 8), "little")
        elif name == b"fmt ":
            tag = int.from_bytes(source.read(start, 2), order)
        elif name == b"data":
            there = source.size - start
            announced, patches = _known(size), {}
            if long_at:
                # If the chunk has the marker for "unknown", the size is in the ds64 chunk.
                announced = _known_64(long_size) if size == 0xFFFFFFFF else announced
                patches = {long_at: there.to_bytes(8, "little")}
            else:
                # The size is in the four bytes before the audio.
                patches = {start - 4: min(there, 0xFFFFFFFF).to_bytes(4, order)}
            return Payload(
                start,
                announced,
                there,
                patches,
                unfinished=size == 0,
                mpeg=tag in _MPEG_TAGS,
                foreign=tag in _FOREIGN_TAGS,
                chunks=order,
            )
    return None


def _form(source: ByteSource) -> Payload | None:
    for name, size, start in _chunks(source, 12, "big"):
        if name == b"SSND":
            # SSND: an offset and a block size of 4 bytes each, then the samples.
            offset = int.from_bytes(source.read(start, 4), "big")
            there = source.size - start - 8 - offset
            announced = _known(size)
            if announced is not None:
                announced = max(0, announced - 8 - offset)
            size_bytes = min(there + 8 + offset, 0xFFFFFFFF).to_bytes(4, "big")
            return Payload(
                start + 8 + offset, announced, there, {start - 4: size_bytes}, chunks="big"
            )
        if name == b"BODY":
            return Payload(start, _known(size), source.size - start, {}, chunks="big")
    return None


def _au(source: ByteSource, head: bytes) -> Payload | None:
    order: Literal["little", "big"] = "big" if head[:4] == b".snd" else "little"
    start, size = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
    # AU: position of the audio at byte 4, its size at byte 8; all ones means unknown.
    return Payload(start, _known(size), source.size - start, {8: b"\xff" * 4}, chunks="none")


def _caf(source: ByteSource) -> Payload | None:
    at = 8
    for _ in range(_CHUNKS):
        header = source.read(at, 12)
        if len(header) < 12:
            return None
        # CAF: a name and a size of 8 bytes; -1 for the audio means up to the end of the file.
        size = int.from_bytes(header[4:], "big", signed=True)
        if header[:4] == b"data":
            there = source.size - at - 12
            announced = None if size < 0 else size
            return Payload(at + 12, announced, there, {at + 4: there.to_bytes(8, "big")})
        if size < 0:
            return None
        at += 12 + size
    return None


def _w64(source: ByteSource) -> Payload | None:
    # W64: a GUID, a size of 8 bytes and another GUID; chunks begin with a GUID and a size that includes both.
    at = 40
    for _ in range(_CHUNKS):
        header = source.read(at, 24)
        size = int.from_bytes(header[16:], "little")
        if len(header) < 24 or size < 24:
            return None
        if header[:4] == b"data":
            there = source.size - at - 24
            announced = size - 24 if size < _UNKNOWN_64 else None
            patches = {16: source.size.to_bytes(8, "little")}
            patches[at + 16] = (there + 24).to_bytes(8, "little")
            return Payload(at + 24, announced, there, patches)
        # Chunks begin at multiples of 8.
        at += (size + 7) // 8 * 8
    return None


def _nist(source: ByteSource, head: bytes) -> Payload | None:
    said = dict(re.findall(rb"\n(\w+) -\w+ ([^\n;]+)", head))
    try:
        # The second line of a SPHERE file is the size of its header.
        start = int(head[8:16])
        frames, width, channels = (
            int(said[name]) for name in (b"sample_count", b"sample_n_bytes", b"channel_count")
        )
    except (KeyError, ValueError):
        return None
    if b"shorten" in said.get(b"sample_coding", b""):
        return None
    return Payload(start, frames * width * channels, source.size - start, {}, chunks="none")


def _voc(source: ByteSource, head: bytes) -> Payload | None:
    """Read only the first block of a Creative Voice file: sox writes block sizes that are too small to find others."""
    at = int.from_bytes(head[20:22], "little")
    header = source.read(at, 4)
    if len(header) < 4:
        return None
    # A block: one byte for its type, three for its size.
    return Payload(at + 4, int.from_bytes(header[1:], "little"), source.size - at - 4, {})


def _known(size: int) -> int | None:
    if size == 0 or any(low <= size < high for low, high in _UNKNOWN_32):
        return None
    return size


def _known_64(size: int | None) -> int | None:
    return None if size is None or size == 0 or size >= _UNKNOWN_64 else size

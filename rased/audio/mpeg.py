"""Parse MPEG audio (MP3, MP2) frame by frame: where segments begin, how many frames they have, and whether they end.

libsndfile takes the length of a stream from the tag in its first frame (Xing, Info, VBRI). Without a tag, it estimates
the length from the first frame's bit rate, so a stream of variable bit rate ends early. This module counts all
frames, and adds a tag to a stream that has no correct one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rased.audio.problems import DamagedError
from rased.audio.views import ByteSource, Piece

_BITRATES = {  # kbit/s by (MPEG 1, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SEARCHED = 1 << 18
"""The first frame must begin within this many bytes."""
_BLOCK = 1 << 20
_DECODER_DELAY = 529
"""Samples that libsndfile's decoder drops at the beginning of a stream with a tag."""
_LONGEST = 4096
"""Upper bound of the bytes in a frame."""


class Header(NamedTuple):
    """Content of the four-byte header of a frame."""

    version: int
    layer: int
    sample_rate: int
    length: int
    samples: int
    tag_at: int

    @property
    def kind(self) -> tuple[int, int, int]:
        """Return the properties that all frames of a stream share."""
        return self.version, self.layer, self.sample_rate


@dataclass
class Segment:
    """Consecutive frames, from one tag to the next.

    Attributes:
        samples: samples in the frames, without the frame of the tag.
        frames: number of these frames.
        pieces: their positions.
        tag: position of the frame of the tag; None without a tag.
        xing: libsndfile understands the tag.
        announced: number of frames according to the tag; None if it does not say.
        announced_bytes: bytes according to the tag, including itself; None if it does not say.
    """

    first: bytes = b""
    samples: int = 0
    frames: int = 0
    pieces: list[range] = field(default_factory=list)
    tag: range | None = None
    xing: bool = False
    announced: int | None = None
    announced_bytes: int | None = None

    @property
    def missing(self) -> int:
        """Return how many announced frames are missing; 0 if the announced bytes are present."""
        if self.announced is None or self.frames >= self.announced:
            return 0
        there = sum(map(len, self.pieces)) + len(self.tag or ())
        whole = self.announced_bytes is not None and there >= self.announced_bytes
        return 0 if whole else self.announced - self.frames

    @property
    def tagged(self) -> bool:
        """Return whether libsndfile knows the exact length from the tag."""
        return self.tag is not None and self.xing and self.announced == self.frames

    def view(self) -> tuple[list[Piece], int]:
        """Return the bytes that a decoder needs to read all frames, and the number of its first samples to drop."""
        header = _parsed(self.first)
        assert header is not None
        if header.layer != 3:
            return list(self.pieces), 0
        if self.tagged:
            assert self.tag is not None
            return [self.tag, *self.pieces], 0
        tag, silence = _length_tag(self.first, self.frames + 1)
        # A made-up tag makes the decoder drop its delay; the frame of silence takes the drop, and its rest is
        # dropped here.
        return [tag, silence, *self.pieces], header.samples - _DECODER_DELAY


def looks_like_mpeg(source: ByteSource, head: bytes) -> bool:
    """Return whether a file begins with two frames of MPEG audio, after any tags."""
    at = _behind_id3(source, 0)
    if at == 0 and not (head[:1] == b"\xff" and _parsed(head[:4])):
        return False
    # Nothing may precede the first frame: many other files contain the bytes of a header somewhere.
    return _first_frame(source, at, source.size, searched=1) == at


def find_segments(source: ByteSource, start: int, stop: int) -> list[Segment]:
    """Return the segments between two positions of a file; none if there is no frame.

    Raises:
        DamagedError: the last frame is incomplete, a tag announces more frames, or there is other data in between.
    """
    at = _first_frame(source, _behind_id3(source, start), stop)
    if at is None:
        return []
    # For frames before the first tag.
    segments = [Segment()]
    kind = _parsed(source.read(at, 4)).kind  # type: ignore[union-attr]
    for position, header, frame in _frames(source, at, stop):
        if header.kind != kind:
            raise DamagedError(
                f"changes from {kind[2]} Hz to {header.sample_rate} Hz, or its coding, at byte {position}: "
                "convert it with ffmpeg first"
            )
        tag = _tag(frame, header) if header.layer == 3 else None
        place = range(position, position + header.length)
        if tag is not None:
            segments.append(Segment(frame[:4], 0, 0, [], place, *tag))
            continue
        segment = segments[-1]
        segment.first = segment.first or frame[:4]
        segment.frames += 1
        segment.samples += header.samples
        # Merge adjacent frames into one piece, so that a file of an hour is a few ranges.
        if segment.pieces and segment.pieces[-1].stop == place.start:
            segment.pieces[-1] = range(segment.pieces[-1].start, place.stop)
        else:
            segment.pieces.append(place)
    missing = next((segment for segment in segments if segment.missing), None)
    if missing is not None:
        raise DamagedError(
            f"is truncated: its header announces {missing.announced} MPEG frames, but the file has {missing.frames}; "
            "get the whole file again"
        )
    return [segment for segment in segments if segment.frames]


def _frames(source: ByteSource, at: int, stop: int) -> Iterator[tuple[int, Header, bytes]]:
    """Yield position, header and bytes of each frame; ignore tags in between, and anything after the last frame."""
    block, base = b"", at
    while at < stop:
        # Read on before a frame might reach beyond the block.
        if at + _LONGEST > base + len(block) and base + len(block) < stop:
            block, base = source.read(at, min(_BLOCK, stop - at)), at
        here = at - base
        header = _parsed(block[here : here + 4])
        if header is None:
            behind = _behind_tags(source, at, stop)
            if behind == at:
                _refuse_more(source, at, stop)
                return
            at = behind
            continue
        if at + header.length > stop:
            raise DamagedError(
                "is truncated: its last MPEG frame is incomplete; get the whole file again"
            )
        yield at, header, block[here : here + header.length]
        at += header.length


def _refuse_more(source: ByteSource, at: int, stop: int) -> None:
    """Ignore anything after the last frame, except the beginning of a frame, or more frames."""
    rest = source.read(at, min(4, stop - at))
    if len(rest) < 4 and (rest == b"\xff" or rest[:2] > b"\xff\xe0"):
        raise DamagedError(
            "is truncated: its last MPEG frame is incomplete; get the whole file again"
        )
    again = _first_frame(source, at, stop)
    if again is not None:
        raise DamagedError(
            f"is damaged: the bytes {at} to {again} are not MPEG frames; get the file again"
        )


def _first_frame(source: ByteSource, at: int, stop: int, searched: int = _SEARCHED) -> int | None:
    """Return the position of the first of two frames of the same kind, or of a single frame that ends the file."""
    block = source.read(at, min(searched + 2 * _LONGEST, stop - at))
    for found in re.finditer(rb"\xff(?=[\xe2-\xff])", block):
        here = found.start()
        if here >= searched:
            break
        header = _parsed(block[here : here + 4])
        if header is None:
            continue
        behind = here + header.length
        following = _parsed(block[behind : behind + 4])
        if at + behind == stop or (following is not None and following.kind == header.kind):
            return at + here
    return None


def _parsed(header: bytes) -> Header | None:
    """Parse the header of a frame; None if it is not one (or has a free bit rate, which is not used in practice)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    # Eleven bits of synchronisation, then two of version (3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5), two of layer (3: I).
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    sample_rate = _RATES[version][rate]
    bits = 1000 * _BITRATES[version == 3, layer][bitrate]
    if layer == 1:
        # Layer I counts in slots of 4 bytes.
        length, samples = 4 * (12 * bits // sample_rate + padding), 384
    else:
        samples = 576 if layer == 3 and version != 3 else 1152
        length = samples // 8 * bits // sample_rate + padding
    # A tag is where the samples would begin: after the header and the side information.
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return Header(version, layer, sample_rate, length, samples, 4 + side)


def _tag(frame: bytes, header: Header) -> tuple[bool, int | None, int | None] | None:
    """Return `xing`, `announced` and `announced_bytes` of a Xing, Info or VBRI tag; None without a tag."""
    # VBRI is always 32 bytes after the header.
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return False, int.from_bytes(frame[50:54], "big"), int.from_bytes(frame[46:50], "big")
    for at in (header.tag_at, header.tag_at + 2):  # a checksum of two bytes may precede the tag
        if frame[at : at + 4] in (b"Xing", b"Info"):
            flags = int.from_bytes(frame[at + 4 : at + 8], "big")
            numbers = [int.from_bytes(frame[at + n : at + n + 4], "big") for n in (8, 12)]
            count = numbers.pop(0) if flags & 1 else None
            return True, count, numbers.pop(0) if flags & 2 else None
    return None


def _length_tag(first: bytes, frames: int) -> tuple[bytes, bytes]:
    """Return a frame like `first` whose tag holds the number of frames, and a frame of silence.

    After such a tag, the decoder drops as many samples as its own delay; the silence provides them.
    """
    for bitrate in range(1, 15):
        # The lowest bit rate with room for the tag; no checksum (bit 0 of byte 1), no padding.
        head = bytes((0xFF, first[1] | 1, bitrate << 4 | first[2] & 0x0C, first[3]))
        header = _parsed(head)
        assert header is not None
        if header.length >= header.tag_at + 12:
            # 1: the tag holds the number of frames alone.
            tag = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
            frame = (head + bytes(header.tag_at - 4) + tag).ljust(header.length, b"\0")
            return frame, head.ljust(header.length, b"\0")
    raise AssertionError("a frame of the highest bit rate has room for a tag")


def _behind_id3(source: ByteSource, at: int) -> int:
    """Return the position after the ID3 tags that begin at `at`."""
    while (tag := source.read(at, 10))[:3] == b"ID3" and len(tag) == 10:
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)
        )
        # ID3v2 sizes have 7 bits in each byte; bit 4 of the flags: there is a footer.
        at += 10 + size + (10 if tag[5] & 0x10 else 0)
    return at


def _behind_tags(source: ByteSource, at: int, stop: int) -> int:
    """Return the position after the known tags at the end of a file; `at` if there are none."""
    behind = _behind_id3(source, at)
    if behind != at:
        return behind
    head = source.read(at, 32)
    if head[:3] == b"TAG":
        return min(at + 128, stop)
    if head[:8] == b"APETAGEX":
        return at + 32 + int.from_bytes(head[12:16], "little")
    if head[:11] == b"LYRICSBEGIN":
        end = re.search(rb"\d{6}LYRICS200|LYRICSEND", source.read(at, _BLOCK))
        return at + end.end() if end else at
    return at

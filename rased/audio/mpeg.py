"""MPEG audio (MP3, MP2) frame by frame: where each stretch begins, how many frames it has, whether it is whole.

libsndfile takes the length of a stream from the tag in its first frame (Xing, Info, VBRI) and, without one, guesses
it from the first frame's bit rate: a stream of variable bit rate then ends early. Here all frames are counted; a
stream without a true tag is given one.
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
"""Bytes in which the first frame is looked for."""
_BLOCK = 1 << 20
_DECODER_DELAY = 529
"""Samples that libsndfile's decoder drops at the beginning of a stream with a tag."""
_LONGEST = 4096
"""Bytes that no frame exceeds."""


class Header(NamedTuple):
    """What the four bytes before a frame say."""

    version: int
    layer: int
    sample_rate: int
    length: int
    samples: int
    tag_at: int

    @property
    def kind(self) -> tuple[int, int, int]:
        """What all frames of a stream share."""
        return self.version, self.layer, self.sample_rate


@dataclass
class Segment:
    """Frames that follow each other, from a tag to the next.

    Attributes:
        samples: in its frames, the frame of its tag left out.
        frames: number of these frames.
        pieces: where they are.
        tag: where the frame of the tag is; None without one.
        xing: whether libsndfile understands the tag.
        announced: number of frames that the tag promises; None where it does not say.
        announced_bytes: bytes that the tag promises, itself included; None where it does not say.
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
        """Frames that were promised and are not there; 0 where the tag's count of bytes is there."""
        if self.announced is None or self.frames >= self.announced:
            return 0
        there = sum(map(len, self.pieces)) + len(self.tag or ())
        whole = self.announced_bytes is not None and there >= self.announced_bytes
        return 0 if whole else self.announced - self.frames

    @property
    def tagged(self) -> bool:
        """Whether libsndfile knows the length from the tag, to the sample."""
        return self.tag is not None and self.xing and self.announced == self.frames

    def view(self) -> tuple[list[Piece], int]:
        """Return what a decoder must see to read all frames, and how many of its first samples are to be dropped."""
        header = _parsed(self.first)
        assert header is not None
        if header.layer != 3:
            return list(self.pieces), 0
        if self.tagged:
            assert self.tag is not None
            return [self.tag, *self.pieces], 0
        tag, silence = _length_tag(self.first, self.frames + 1)
        return [tag, silence, *self.pieces], header.samples - _DECODER_DELAY


def looks_like_mpeg(source: ByteSource, head: bytes) -> bool:
    """Whether a file begins with two frames of MPEG audio, tags left aside."""
    at = _behind_id3(source, 0)
    if at == 0 and not (head[:1] == b"\xff" and _parsed(head[:4])):
        return False
    return _first_frame(source, at, source.size, searched=1) == at


def find_segments(source: ByteSource, start: int, stop: int) -> list[Segment]:
    """Return the stretches of frames between two positions of a file; none where there is no frame.

    Raises:
        DamagedError: the last frame is incomplete, a tag promises more frames, or something else lies between.
    """
    at = _first_frame(source, _behind_id3(source, start), stop)
    if at is None:
        return []
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
        if segment.pieces and segment.pieces[-1].stop == place.start:
            segment.pieces[-1] = range(segment.pieces[-1].start, place.stop)
        else:
            segment.pieces.append(place)
    missing = next((segment for segment in segments if segment.missing), None)
    if missing is not None:
        raise DamagedError(
            f"is cut short: its header announces {missing.announced} MPEG frames and {missing.frames} are there; "
            "get the whole file again"
        )
    return [segment for segment in segments if segment.frames]


def _frames(source: ByteSource, at: int, stop: int) -> Iterator[tuple[int, Header, bytes]]:
    """Yield position, header and bytes of each frame, passing over tags between them and anything behind the last."""
    block, base = b"", at
    while at < stop:
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
                "is cut short: its last MPEG frame is incomplete; get the whole file again"
            )
        yield at, header, block[here : here + header.length]
        at += header.length


def _refuse_more(source: ByteSource, at: int, stop: int) -> None:
    """Whatever follows the last frame is passed over, except the beginning of a frame or more frames."""
    rest = source.read(at, min(4, stop - at))
    if len(rest) < 4 and (rest == b"\xff" or rest[:2] > b"\xff\xe0"):
        raise DamagedError(
            "is cut short: its last MPEG frame is incomplete; get the whole file again"
        )
    again = _first_frame(source, at, stop)
    if again is not None:
        raise DamagedError(
            f"is damaged: the bytes {at} to {again} are no MPEG frames; get the file again"
        )


def _first_frame(source: ByteSource, at: int, stop: int, searched: int = _SEARCHED) -> int | None:
    """Return where the first of two frames of one kind begins, or a single one that ends the file."""
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
    """Read the header of a frame; None where it is none (or its bit rate is free, which nobody uses)."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    sample_rate = _RATES[version][rate]
    bits = 1000 * _BITRATES[version == 3, layer][bitrate]
    if layer == 1:
        length, samples = 4 * (12 * bits // sample_rate + padding), 384
    else:
        samples = 576 if layer == 3 and version != 3 else 1152
        length = samples // 8 * bits // sample_rate + padding
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return Header(version, layer, sample_rate, length, samples, 4 + side)


def _tag(frame: bytes, header: Header) -> tuple[bool, int | None, int | None] | None:
    """Return `xing`, `announced` and `announced_bytes` of a Xing, Info or VBRI tag; None where there is no tag."""
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return False, int.from_bytes(frame[50:54], "big"), int.from_bytes(frame[46:50], "big")
    for at in (header.tag_at, header.tag_at + 2):  # a checksum may lie before it
        if frame[at : at + 4] in (b"Xing", b"Info"):
            flags = int.from_bytes(frame[at + 4 : at + 8], "big")
            numbers = [int.from_bytes(frame[at + n : at + n + 4], "big") for n in (8, 12)]
            count = numbers.pop(0) if flags & 1 else None
            return True, count, numbers.pop(0) if flags & 2 else None
    return None


def _length_tag(first: bytes, frames: int) -> tuple[bytes, bytes]:
    """Return a frame of the kind of `first` whose tag holds the number of frames, and one of silence.

    After such a tag the decoder drops its own delay; the silence is what it then drops.
    """
    for bitrate in range(1, 15):
        head = bytes((0xFF, first[1] | 1, bitrate << 4 | first[2] & 0x0C, first[3]))
        header = _parsed(head)
        assert header is not None
        if header.length >= header.tag_at + 12:
            tag = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
            frame = (head + bytes(header.tag_at - 4) + tag).ljust(header.length, b"\0")
            return frame, head.ljust(header.length, b"\0")
    raise AssertionError("a frame of the highest bit rate holds a tag")


def _behind_id3(source: ByteSource, at: int) -> int:
    """Return the position behind the ID3 tags that begin at `at`."""
    while (tag := source.read(at, 10))[:3] == b"ID3" and len(tag) == 10:
        size = sum(
            (byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)
        )
        at += 10 + size + (10 if tag[5] & 0x10 else 0)
    return at


def _behind_tags(source: ByteSource, at: int, stop: int) -> int:
    """Return the position behind the tags that players know; `at` where none begins there."""
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

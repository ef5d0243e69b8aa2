"""Parse Ogg page by page: find the streams in a file, and check whether each is complete.

libsndfile reads only the first stream, and a truncated Vorbis or Opus stream as if it ended there.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rased.audio.problems import DamagedError
from rased.audio.views import ByteSource

_BEGINS, _ENDS = 2, 4
"""Flags in the header of a page: first and last page of a stream."""
_LONGEST = 27 + 255 + 255 * 255
"""Maximum bytes of a page."""
_BLOCK = 1 << 20
_TRIES = 1000
"""Number of invalid pages after which a file is rejected."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_DECODED = (b"\x01vorbis", b"OpusHead")
"""First bytes of the streams that libsndfile decodes."""


class Page(NamedTuple):
    """Position and header of a page."""

    start: int
    stop: int
    flags: int
    serial: int
    number: int
    begins: bytes


@dataclass
class Link:
    """One stream, or several streams whose pages alternate.

    Attributes:
        start: position of the first byte.
        stop: position after the last byte.
        decoded: for each stream, whether libsndfile decodes it.
        numbers: for each stream, the number of its last page so far.
        unfinished: streams whose final page has not been seen.
    """

    start: int
    stop: int
    decoded: list[bool] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    unfinished: set[int] = field(default_factory=set)

    @property
    def plain(self) -> bool:
        """Return whether it is a single stream that libsndfile decodes."""
        return self.decoded == [True]


def find_links(source: ByteSource) -> list[Link]:
    """Return the links of a file in order; other bytes after the last page of a link are ignored.

    Raises:
        DamagedError: a page is damaged or missing, or a stream has no end.
    """
    links: list[Link] = []
    for page in _pages(source):
        first = bool(page.flags & _BEGINS)
        between = bool(links and links[-1].unfinished)
        # Streams that begin while others are unfinished are multiplexed with them: they belong to the same
        # link.
        if first and not between:
            links.append(Link(page.start, page.start))
        if not links or page.start != links[-1].stop:
            at = links[-1].stop if links else 0
            raise DamagedError(
                f"is damaged: the bytes {at} to {page.start} are not an Ogg page; get the file again"
            )
        _take(page, links[-1], first=first)
    if links and links[-1].unfinished:
        raise DamagedError(
            "is truncated: its last Ogg page is not the end of the stream; get the whole file again"
        )
    end = links[-1].stop if links else 0
    if source.read(end, 4) and b"OggS".startswith(source.read(end, 4)):
        raise DamagedError(
            "is truncated or damaged: its last Ogg page is incomplete; get the whole file again"
        )
    return links


def _take(page: Page, link: Link, *, first: bool) -> None:
    if first:
        link.decoded.append(page.begins.startswith(_DECODED))
        link.unfinished.add(page.serial)
    elif page.serial not in link.unfinished or page.number != link.numbers[page.serial] + 1:
        raise DamagedError(
            f"is damaged: Ogg pages are missing before byte {page.start}; get the file again"
        )
    link.numbers[page.serial] = page.number
    link.stop = page.stop
    if page.flags & _ENDS:
        link.unfinished.discard(page.serial)


def _pages(source: ByteSource) -> Iterator[Page]:
    """Yield the valid pages of a file, and skip anything in between."""
    at = base = tries = 0
    block = b""
    while at < source.size and tries < _TRIES:
        # Read on before a page might reach beyond the block.
        if at + _LONGEST > base + len(block) and base + len(block) < source.size:
            block, base = source.read(at, _BLOCK), at
        here = block.find(b"OggS\0", at - base)
        if here < 0:
            # The last four bytes may be the beginning of a marker.
            at = max(at + 1, base + len(block) - 4)
        elif base + here > at:
            at = base + here
        elif (page := _page(block, here, at)) is None:
            at, tries = at + 1, tries + 1
        else:
            yield page
            at = page.stop


def _page(block: bytes, here: int, at: int) -> Page | None:
    """Read the page at position `here` of a block (`at` in the file); None if its checksum is wrong."""
    header = block[here : here + 27]
    if len(header) < 27:
        return None
    # Byte 26: number of segments; a table of their sizes follows the header.
    table = block[here + 27 : here + 27 + header[26]]
    stop = here + 27 + header[26] + sum(table)
    if stop > len(block):
        return None
    # The checksum of a page is computed with zeros in place of the checksum.
    content = header[:22] + bytes(4) + block[here + 26 : stop]
    if _checksum(content) != int.from_bytes(header[22:26], "little"):
        return None
    serial, number = (int.from_bytes(header[n : n + 4], "little") for n in (14, 18))
    begins = block[here + 27 + len(table) :][:8]
    return Page(at, at + stop - here, header[5], serial, number, begins)


def serial_zero(data: bytes) -> bytes:
    """Set the serial number of all pages of a single Ogg stream to 0: encoders choose it at random."""
    pages, at = [], 0
    while at < len(data):
        table = data[at + 27 : at + 27 + data[at + 26]]
        stop = at + 27 + len(table) + sum(table)
        # Serial number at bytes 14 to 17, checksum at 22 to 25.
        head, content = (
            data[at : at + 14] + bytes(4) + data[at + 18 : at + 22],
            data[at + 26 : stop],
        )
        checksum = _checksum(head + bytes(4) + content).to_bytes(4, "little")
        pages += [head, checksum, content]
        at = stop
    return b"".join(pages)


def _checksum(content: bytes) -> int:
    """Return the checksum of Ogg: zlib's polynomial, most significant bit first, without inversion."""
    reflected = zlib.crc32(content.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    # zlib's CRC is bit-reversed and inverted compared with Ogg's, so both are undone.
    return int(f"{reflected:032b}"[::-1], 2)

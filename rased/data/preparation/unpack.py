"""Unpack archives (zip, split zip and tar) safely: nothing is written outside of the folder.

A member is a plain file with a relative name; links, devices and folders are ignored. The unpacked size is
limited by the size of the archive, and by the free space on the disk.
"""

import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rased.disk import NO_ROOM, PART
from rased.errors import RasedError, cut, shown

MOST = 200
"""Maximum unpacked bytes per byte of an archive."""
SPARE = 1 << 30
"""Unpacked bytes that are allowed for any archive."""
_BLOCK = 1 << 20
_LONGEST = 250
"""Maximum bytes of one component of a name, leaving room for the suffix of an unfinished file."""
# Records of APPNOTE.TXT (PKWARE), with the places that are used below:
# central directory: 5 flags, 6 method, 9 CRC, 10 packed size, 11 size, 12 to 14 lengths of name, extra field and
# comment, 15 part, 18 position in the part; local header: 10, 11 lengths of name and extra field;
# end: 1 number of this part, 2 part with the central directory, 4 members, 6 position in the part.
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_END = struct.Struct("<4s4H2LH")
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    LookupError,
    TypeError,
    ValueError,
)
"""Exceptions of the standard library for damaged archives."""


class _Member(NamedTuple):
    """A file in an archive: name, announced size, and content."""

    name: str
    size: int
    blocks: Iterator[bytes]


class _CannotError(Exception):
    """Why an archive cannot be unpacked."""


def unpack(parts: Sequence[Path], folder: Path) -> None:
    """Unpack a zip, a split zip or a tar into a folder.

    Args:
        parts: the archive; for a split zip all its files, the .zip last.
        folder: where to unpack.

    Raises:
        RasedError: a damaged archive (it is removed), an encrypted one or one with unknown compression, a
            name that leads outside, or more content than allowed for an archive of its size.
        OSError: the disk is full or not writable.
    """
    archive = parts[-1]
    most = SPARE + MOST * sum(part.stat().st_size for part in parts)
    done = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for member in _members(parts):
            target = _place(folder, member.name)
            done += max(member.size, 0)
            if done > most:
                raise _CannotError(f"it would unpack to more than {most >> 20} MB")
            if member.size > shutil.disk_usage(folder).free:
                raise _CannotError(
                    f"{shown(member.name)} has {member.size >> 20} MB, but the disk has less free space"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(member, target)
    except _CannotError as error:
        raise RasedError(
            f"'{archive}' cannot be unpacked: {error}. Unpack it by hand, or remove it."
        ) from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        # From a decompressor (bz2, gzip), not from the system.
        if error.errno is None:
            raise _damaged(parts, error) from error
        reason = (error.strerror or str(error)).lower()
        raise RasedError(
            f"'{archive}' cannot be unpacked: {reason} ({cut(str(error.filename))}). Remove it, or what is in its way."
        ) from error
    # zipfile: an unknown compression, or a missing password.
    except (NotImplementedError, RuntimeError) as error:
        raise RasedError(
            f"'{archive}' cannot be unpacked: {cut(str(error)) or 'its compression is not supported'}. "
            "Unpack it by hand, or remove it."
        ) from None
    except _DAMAGED as error:
        raise _damaged(parts, error) from error


def _damaged(parts: Sequence[Path], error: Exception) -> RasedError:
    """Remove a damaged archive; return the error."""
    for part in parts:
        part.unlink(missing_ok=True)
    reason = cut(str(error)) or type(error).__name__
    return RasedError(
        f"'{parts[-1]}' is damaged ({reason}) and was removed: run the same command again."
    )


def _place(folder: Path, name: str) -> Path:
    """Return the path for a member."""
    path = PurePosixPath(name)
    for part in path.parts:
        # A backslash separates folders on Windows.
        plain = part.isprintable() and not set(part) & set("/\\") and len(part.encode()) <= _LONGEST
        if part in ("..", ".") or not plain:
            raise _CannotError(f"{shown(name)} would be written outside of the folder")
    if path.is_absolute() or not path.parts:
        raise _CannotError(f"{shown(name)} would be written outside of the folder")
    return folder / path


def _write(member: _Member, target: Path) -> None:
    """Write a member atomically, and not more of it than announced."""
    unfinished = target.with_name(target.name + PART)
    left = member.size
    try:
        with unfinished.open("wb") as file:
            for block in member.blocks:
                left -= len(block)
                if left < 0:
                    raise zipfile.BadZipFile(
                        f"{member.name} has more than the announced {member.size} bytes"
                    )
                file.write(block)
        if left:
            raise EOFError(f"{member.name} is truncated")
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _members(parts: Sequence[Path]) -> Iterator[_Member]:
    """Yield every file in an archive."""
    archive = parts[-1]
    if len(parts) > 1:
        yield from _split_zip(parts)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if member.is_dir():
                    continue
                # Bit 0: encrypted.
                if member.flag_bits & 1:
                    raise _CannotError(f"{shown(member.filename)} is encrypted")
                with packed.open(member) as stream:
                    blocks = iter(partial(stream.read, _BLOCK), b"")
                    yield _Member(member.filename, member.file_size, blocks)
    else:
        yield from _tar(archive)


class _Entry(tarfile.TarInfo):
    """A tar header that records on the tar file when the end mark was read: without it, the archive is truncated."""

    @classmethod
    def fromtarfile(cls, tar: Any) -> "_Entry":
        """Read the next header."""
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # two blocks of zeros
            tar.ended = True
            raise


def _tar(archive: Path) -> Iterator[_Member]:
    # "|": as a stream, without seeking; any compression.
    with tarfile.open(archive, "r|*", tarinfo=_Entry) as tar:
        for entry in tar:
            content = tar.extractfile(entry) if entry.isfile() else None
            if content is not None:
                yield _Member(entry.name, entry.size, iter(partial(content.read, _BLOCK), b""))
            tar.members.clear()  # type: ignore[attr-defined]  # otherwise tarfile keeps all headers in memory
        if not getattr(tar, "ended", False):
            raise EOFError("its end is missing")


def _split_zip(parts: Sequence[Path]) -> Iterator[_Member]:
    """Yield the members of NAME.z01, NAME.z02, ..., NAME.zip, a format that `zipfile` does not support."""
    with _Joined(parts) as joined:
        # The end record is followed by a comment of at most 64 KiB.
        tail = joined.read(max(0, joined.length - (1 << 16)), 1 << 16)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + _END.size:
            raise zipfile.BadZipFile("its end is missing")
        end = _END.unpack_from(tail, at)
        # All ones: the real value is in a zip64 record.
        if end[1] + 1 != len(parts) or end[4] == 0xFFFF or end[6] == 0xFFFFFFFF:
            raise zipfile.BadZipFile(f"it has {end[1] + 1} parts, but {len(parts)} were found")
        position = joined.starts[end[2]] + end[6]
        for _ in range(end[4]):
            entry = _CENTRAL.unpack(joined.read(position, _CENTRAL.size))
            name = joined.read(position + _CENTRAL.size, entry[12]).decode()
            # To the next record.
            position += _CENTRAL.size + sum(entry[12:15])
            if name.endswith("/"):
                continue
            if entry[5] & 1:
                raise _CannotError(f"{shown(name)} is encrypted")
            if entry[6] not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _CannotError(
                    f"{shown(name)} uses the compression method {entry[6]}, which is not supported"
                )
            yield _Member(
                name, entry[11], _content(joined, joined.starts[entry[15]] + entry[18], entry)
            )


def _content(joined: "_Joined", position: int, entry: Sequence[Any]) -> Iterator[bytes]:
    """Yield the bytes of a member of a split zip; `entry` is its record in the central directory."""
    local = _LOCAL.unpack(joined.read(position, _LOCAL.size))
    # The extra field may differ from that of the central directory.
    position += _LOCAL.size + local[10] + local[11]
    # Negative: raw deflate, without the header of zlib.
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry[6] == zipfile.ZIP_DEFLATED else None
    left, crc = entry[10], 0
    while left > 0:
        block = joined.read(position, min(_BLOCK, left))
        if not block:
            raise EOFError("truncated")
        position, left = position + len(block), left - len(block)
        while block:
            # At most _BLOCK bytes at a time, however well they are compressed.
            data = inflate.decompress(block, _BLOCK) if inflate else block
            block = inflate.unconsumed_tail if inflate else b""
            # Of the unpacked data.
            crc = zlib.crc32(data, crc)
            yield data
    if crc != entry[9]:
        raise zipfile.BadZipFile("a checksum differs")


class _Joined:
    """Several files that are read as one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._files = [part.open("rb") for part in parts]
        sizes = [part.stat().st_size for part in parts]
        self.starts = [sum(sizes[:number]) for number in range(len(parts))]
        self.length = sum(sizes)

    def __enter__(self) -> "_Joined":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def read(self, position: int, count: int) -> bytes:
        """Return `count` bytes from a position; fewer at the end."""
        pieces = b""
        while len(pieces) < count and position < self.length:
            # The part that contains the position.
            number = bisect(self.starts, position) - 1
            self._files[number].seek(position - self.starts[number])
            piece = self._files[number].read(count - len(pieces))
            if not piece:
                break
            pieces, position = pieces + piece, position + len(piece)
        return pieces

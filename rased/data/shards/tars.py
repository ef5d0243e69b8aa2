"""Shards as tar files: write samples one after the other, and read them, also from damaged files.

A sample has two members: {key}.flac, {key}.pcm16 or {key}.opus, followed by {key}.json. Times and owners are
constant, so that equal samples give equal bytes. Plain tar tools and WebDataset can read these files.
"""

import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from rased import documents
from rased.data.schemas import CHANNELS, CODECS, COLUMNS, Codec, Sample, Shard
from rased.data.shards.tables import temporary_table
from rased.disk import PART, sha256
from rased.errors import RasedError, cut, shown

Details = dict[str, Any]
"""Metadata of a sample: {key}.json in a shard."""
_BLOCK = tarfile.BLOCKSIZE
_LARGEST_JSON = 1 << 20


class StoredSample(NamedTuple):
    """A sample in a shard; offset is that of the first byte of its audio."""

    details: Details
    codec: Codec
    offset: int
    audio: bytes


class Column(Collection[Any]):
    """One column of `Rows`, read from disk in each iteration."""

    def __init__(self, table: sqlite3.Connection, name: str) -> None:
        """Set the column."""
        self._table, self._name = table, name

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._table.execute("SELECT count(*) FROM samples").fetchone()[0])

    def __iter__(self) -> Iterator[Any]:
        """Yield the values in the order of the rows."""
        rows = self._table.execute(f'SELECT "{self._name}" FROM samples ORDER BY rowid')
        return (value for (value,) in rows)

    def __contains__(self, value: object) -> bool:
        """Return whether a row has this value; fast for keys."""
        found = self._table.execute(f'SELECT 1 FROM samples WHERE "{self._name}" = ?', (value,))
        return found.fetchone() is not None


class Rows:
    """The columns of a growing index, in a temporary file, and its shards.

    Attributes:
        shards: complete shards.
        licences: names that the column `licence` refers to by number.
        frames: total samples.
        columns: columns by name.
    """

    def __init__(self) -> None:
        """Create an empty table."""
        self.shards: list[Shard] = []
        self.licences: list[str] = []
        self.frames = 0
        # On disk: the index of a corpus of terabytes may not fit into memory while it is packed.
        self._table = temporary_table(self)
        names = ", ".join(f'"{name}"' for name in (*COLUMNS, CHANNELS))
        self._table.execute(f"CREATE TABLE samples ({names})")
        self._table.execute("CREATE INDEX by_key ON samples (key)")
        self.columns = {name: Column(self._table, name) for name in (*COLUMNS, CHANNELS)}

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.columns["key"])

    def add(self, details: Details, *, offset: int, size: int, digest: str) -> None:
        """Append a sample; its shard is the one that will be appended next."""
        if details["licence"] not in self.licences:
            self.licences.append(details["licence"])
        self.frames += details["frames"]
        values = {
            **{name: details[name] for name in ("key", "split", "label", "frames")},
            "shard": len(self.shards),
            "offset": offset,
            "bytes": size,
            "licence": self.licences.index(details["licence"]),
            "sha256": digest,
            CHANNELS: details.get(CHANNELS, 1),
        }
        row = [values[name] for name in (*COLUMNS, CHANNELS)]
        marks = ", ".join("?" * len(row))
        self._table.execute(f"INSERT INTO samples VALUES ({marks})", row)


class ShardWriter:
    """Writes one shard; it gets its final name only when it is complete and on disk."""

    def __init__(self, path: Path) -> None:
        """Create PATH.part."""
        self.path = path
        self._part = path.with_name(path.name + PART)
        self._stream: IO[bytes] = self._part.open("wb")
        self._tar = tarfile.open(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)

    @property
    def size(self) -> int:
        """Return the bytes written so far."""
        return self._tar.offset

    def write(self, details: Details, codec: Codec, audio: bytes) -> int:
        """Append a sample and return the offset of its audio."""
        # The audio follows its header, which is one block in USTAR.
        offset = self._tar.offset + _BLOCK
        for suffix, data in ((codec, audio), ("json", describe(details))):
            member = tarfile.TarInfo(f"{details['key']}.{suffix}")
            member.size, member.mode = len(data), 0o444
            self._tar.addfile(member, io.BytesIO(data))
        # tarfile keeps a list of all members, which would grow with the shard.
        self._tar.getmembers().clear()
        return offset

    def finish(self) -> Shard:
        """Complete the file, flush it to disk, and rename it."""
        self._tar.close()
        self._stream.flush()
        # Before the rename: a shard with its final name is complete, even after a power failure.
        os.fsync(self._stream.fileno())
        self._stream.close()
        shard = Shard(self.path.name, self._part.stat().st_size, sha256(self._part))
        self._part.replace(self.path)
        return shard

    def abandon(self) -> None:
        """Remove the unfinished file."""
        self._part.unlink(missing_ok=True)
        try:
            self._stream.close()
        except OSError:
            pass


def describe(details: Details) -> bytes:
    """Return the JSON member of a sample."""
    return json.dumps(details, ensure_ascii=False, separators=(",", ":")).encode()


def room_for(details: Details, audio: bytes) -> int:
    """Return the bytes that a sample takes in a shard."""
    return sum(_BLOCK + _padded(len(data)) for data in (audio, describe(details)))


def read_shard(
    shard: Path, *, damaged: Callable[[str, str], None] | None = None
) -> Iterator[StoredSample]:
    """Yield the samples of a shard in order.

    Args:
        shard: the tar file.
        damaged: called with (key, reason) for each damaged place (key "" if unknown);
            reading continues at the next member that can be found.

    Raises:
        RasedError: a damaged place, if `damaged` is not given.
    """

    def complain(key: str, reason: str) -> None:
        if damaged is None:
            raise RasedError(f"{shard} is damaged: {f'{cut(key)}: ' if key else ''}{reason}.")
        damaged(cut(key), reason)

    waiting: tuple[str, Codec, int, bytes] | None = None
    for name, offset, data in _members(shard, complain):
        key, _, suffix = name.partition(".")
        if waiting is not None and (suffix != "json" or key != waiting[0]):
            complain(waiting[0], "its json is missing")
            waiting = None
        if suffix in CODECS:
            waiting = (key, suffix, offset, data)
        elif suffix != "json":
            complain("", f"'{cut(name)}' is not a member of a shard")
        elif waiting is None:
            complain(key, "its audio is missing")
        else:
            try:
                yield StoredSample(_details(key, data), waiting[1], waiting[2], waiting[3])
            except _DamagedError as error:
                complain(key, str(error))
            waiting = None
    if waiting is not None:
        complain(waiting[0], "its json is missing")


def _members(shard: Path, complain: Callable[[str, str], None]) -> Iterator[tuple[str, int, bytes]]:
    """Yield (name, offset, data) of the members; after a damaged place, continue at the next header.

    `tarfile` instead takes a damaged header in the middle for the end of the file.
    """
    size = shard.stat().st_size
    with shard.open("rb") as stream:
        gap, garbage = 0, False
        # `gap` counts the bytes since the last member; `garbage`: they are not only zeros.
        while len(block := stream.read(_BLOCK)) == _BLOCK:
            offset = stream.tell()
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
                whole = header.isreg() and header.size >= 0
            except (tarfile.HeaderError, ValueError):
                whole = False
            if not whole:  # links, folders and devices do not belong to a shard
                gap, garbage = gap + _BLOCK, garbage or any(block)
                continue
            if gap:
                complain(
                    "", f"{gap} bytes before byte {offset - _BLOCK} are not part of a tar file"
                )
                gap, garbage = 0, False
            if offset + header.size > size:
                complain(header.name.partition(".")[0], "the file is truncated inside it")
                return
            yield header.name, offset, stream.read(header.size)
            stream.seek(offset + _padded(header.size))
        if garbage or block:
            complain("", f"its last {gap + len(block)} bytes are not part of a tar file")
        # A tar file ends with at least two blocks of zeros.
        elif gap < 2 * _BLOCK:
            complain("", "it is truncated: the end of a tar file is missing")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


class _DamagedError(Exception):
    """Why the JSON of a sample cannot be used."""


def _details(key: str, data: bytes) -> Details:
    """Return the JSON of a sample as checked plain values."""
    if len(data) > _LARGEST_JSON:
        raise _DamagedError(f"its json has {len(data)} bytes")
    try:
        found: Details = documents.plain(data, of="its json", repair="")
        documents.fit(found, Sample, of="its json", repair="")
    except RasedError as error:
        reason = str(error).removeprefix("'its json' is damaged: ").rstrip(". ")
        raise _DamagedError(f"its json cannot be read: {reason}") from None
    if found["key"] != key:
        raise _DamagedError(f"its json is that of {shown(found['key'])}")
    return found

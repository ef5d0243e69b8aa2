"""Shards that lie elsewhere, over HTTP, S3 or anything that fsspec reads: fetched by blocks, kept on disk.

A block is a run of neighbouring samples of a shard, some megabytes long: one range request brings
it, one file keeps it, and the epoch's order takes it as one (`order.blockwise`). Blocks are named
after the SHA-256 of their shard in the index, so that a corpus packed anew never meets blocks of
the old one. All processes of a machine share them, and a block that several want comes once.

Every sample of a block that arrives is compared with its SHA-256 in the index. A block that differs comes once
more; what differs then is a bad sample, and the block is fetched anew an hour later. A block in the cache that is
cut short is fetched again.

Credentials and endpoints are those of fsspec: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL and the like, FSSPEC_S3_ANON=true, FSSPEC_HTTP_... or ~/.config/fsspec/*.json
(https://filesystem-spec.readthedocs.io, "Configuration").

Settings: RASED_CACHE, the folder (`config.cache_folder`), and RASED_CACHE_GB, the bound of the blocks
(default 20, least recently used out first).
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from rased import documents
from rased.config import cache_folder
from rased.data.columns import hexadecimal
from rased.data.schemas import read_index_head
from rased.data.shards.transfer import RefusedError, RemoteError, transfer, whole
from rased.documents import Text
from rased.errors import RasedError
from rased.machine import read_at, take_lock

BLOCK_MB = 8.0
"""Megabytes in a block, where nothing else is said."""
INDEX = "index.json"
ORIGIN = "origin.json"
"""Beside a fetched index: where it came from and which version it is."""
_LOCKS = 256
_DAMAGED_SECONDS = 3600.0
"""After these a block with damaged samples is fetched anew."""
_DEFAULT_GB = 20.0


def is_remote(name: object) -> bool:
    """Whether a name is a URL.

    >>> is_remote("s3://bucket/corpus"), is_remote("shards/speech")
    (True, False)
    """
    return "://" in str(name)


def find(name: str, roles: Sequence[str] = ("speech", "noise", "rir")) -> list[Path]:
    """Local folders with the indices of the shards at a URL, or below it in a folder per role.

    Raises:
        RemoteError: there is no index, or one cannot be read.
    """
    base, found, reasons = name.rstrip("/"), [], []
    for url in (base, *(f"{base}/{role}" for role in roles)):
        try:
            found.append(mirror(url))
        except RefusedError as error:
            reasons.append(str(error))
        if found and url == base:
            break
    if not found:
        raise RemoteError(
            f"No shards at '{name}'. {' '.join(reasons)} Copy a whole folder that `rased data pack` wrote there, "
            "index.json last."
        )
    return found


@functools.cache
def mirror(url: str) -> Path:
    """Local folder that holds the index.json of a remote folder of shards: fetched, or checked, once a process.

    Beside it lies what the index names as its attribution.

    Raises:
        RefusedError: there is none.
        RemoteError: it cannot be read, or is none.
    """
    folder = cache_folder() / "shards" / hashlib.sha256(url.encode()).hexdigest()[:32]
    address = f"{url}/{INDEX}"
    with _locked(folder / "lock"):
        kept = _origin(folder)
        data, version = whole(address, known=kept.version)
        if data or not kept.url:
            unread = folder / f"{INDEX}.new"
            _keep(unread, data)
            try:
                head = read_index_head(unread, repair="Copy the one that `rased data pack` wrote.")
            except RasedError as error:
                unread.unlink()
                raise RemoteError(str(error).replace(f"'{unread}'", f"'{address}'")) from error
            if head.attribution:
                _fetch_attribution(url, head.attribution, folder)
            unread.replace(folder / INDEX)
            _keep(folder / ORIGIN, json.dumps({"url": url, "version": version}).encode())
    return folder


def origin(folder: Path) -> str:
    """URL that the index in a folder was fetched from, "" where the shards lie in that folder."""
    return _origin(folder).url


@dataclass(frozen=True)
class Blocks:
    """Runs of neighbouring samples of an index: what is transferred, kept and shuffled as one.

    Attributes:
        number: block of each row of the index, counted in the order of the bytes.
        shard, start, stop: of each block: its shard and the bytes [start, stop) there. No sample
            lies in two blocks, and blocks do not overlap.
    """

    number: NDArray[np.int64]
    shard: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


def blocks(columns: Mapping[str, Any], block_mb: float = BLOCK_MB) -> Blocks:
    """Cut the rows of an index (columns shard, offset and bytes) into blocks of about `block_mb` megabytes.

    A sample belongs to the block that it begins in: a block is as much longer as its last sample
    reaches out.

    Raises:
        RasedError: block_mb is not more than 0.
    """
    if not block_mb > 0:
        raise RasedError(f"block_mb is {block_mb}; give megabytes in a block, such as {BLOCK_MB}.")
    shard, offset = columns["shard"], columns["offset"]
    place = offset // max(1, round(block_mb * 1e6))
    cell = shard * (int(place.max(initial=0)) + 1) + place
    order = np.lexsort((offset, cell))
    first = np.flatnonzero(np.diff(cell[order], prepend=-1))
    number = np.empty(len(order), np.int64)
    number[order] = np.repeat(np.arange(len(first)), np.diff(first, append=len(order)))
    return Blocks(
        number=number,
        shard=shard[order[first]],
        start=offset[order[first]],
        stop=np.maximum.reduceat((offset + columns["bytes"])[order], first),
    )


class RemoteShards:
    """The bytes of the samples of a remote corpus; safe to fork and to pickle."""

    def __init__(self, url: str, shards: Any, columns: Mapping[str, Any], block_mb: float) -> None:
        """Name the shards of an index.

        Args:
            url: their folder.
            shards: of the index: each with name, bytes and sha256.
            columns: of the index.
            block_mb: megabytes in a block.
        """
        self.url, self.shards, self.columns = url, shards, columns
        self.blocks = blocks(columns, block_mb)
        self.cache = BlockCache()

    def read(self, row: int, skip: int, size: int) -> bytes:
        """`size` bytes of the sample in a row, behind its first `skip`, from the cache where they are there.

        Raises:
            RemoteError: the shard cannot be read, or is not the one that the index means.
            RasedError: the sample has another SHA-256 than in the index, also when it is fetched again.
        """
        number = int(self.blocks.number[row])
        place = int(self.columns["offset"][row] - self.blocks.start[number])
        found = self._look(number, place + skip, size)
        if found is None:
            with self.cache.alone(self._name(number)):
                found = self._look(number, place + skip, size)
                if found is None:
                    found = self._bring(number, place + skip, size)
        data, damaged = found
        if place in damaged:
            shard = f"{self.url}/{self.shards[int(self.columns['shard'][row])].name}"
            raise RasedError(
                f"Sample {self.columns['key'][row]} of {shard} is not what was packed (sha256), fetched twice: check "
                "with `rased data verify` where the shards lie, and copy them there again."
            )
        return data

    def _look(self, number: int, at: int, size: int) -> tuple[bytes, Collection[int]] | None:
        """Bytes of a block in the cache, and where its damaged samples begin; None where it is to be fetched."""
        length = int(self.blocks.stop[number] - self.blocks.start[number])
        found = self.cache.get(self._name(number), at, size, length=length)
        if found is None or not found[1]:
            return found and (found[0], ())
        note = json.loads(found[1])
        return None if time.time() > note["until"] else (found[0], note["damaged"])

    def _bring(self, number: int, at: int, size: int) -> tuple[bytes, Collection[int]]:
        """Fetch a block, once more where a sample is not what was packed, into the cache; as `_look`."""
        block = self._fetch(number)
        if self._damaged(number, block):
            block = self._fetch(number)
        damaged = self._damaged(number, block)
        note = {"damaged": damaged, "until": time.time() + _DAMAGED_SECONDS}
        self.cache.put(self._name(number), block + (json.dumps(note).encode() if damaged else b""))
        return block[at : at + size], damaged

    def _damaged(self, number: int, block: bytes) -> list[int]:
        """Where in a block the samples begin that are not those of the index."""
        rows = np.flatnonzero(self.blocks.number == number)
        places = (self.columns["offset"][rows] - self.blocks.start[number]).tolist()
        sizes, hashes = (
            self.columns["bytes"][rows].tolist(),
            hexadecimal(self.columns["sha256"][rows]),
        )
        return [
            place
            for place, size, digest in zip(places, sizes, hashes, strict=True)
            if hashlib.sha256(block[place : place + size]).hexdigest() != digest
        ]

    def _name(self, number: int) -> str:
        shard = self.shards[int(self.blocks.shard[number])]
        return f"{shard.sha256}/{self.blocks.start[number]}-{self.blocks.stop[number]}"

    def _fetch(self, wanted: int) -> bytes:
        """Fetch a block; from a server that knows no ranges all of its shard, its other good blocks into the cache."""
        start, stop = self.blocks.start, self.blocks.stop
        shard = self.shards[int(self.blocks.shard[wanted])]
        waiting, begin, buffer, found = [wanted], int(start[wanted]), bytearray(), b""
        for _, offset, piece in transfer(
            f"{self.url}/{shard.name}", begin, int(stop[wanted]), total=shard.bytes
        ):
            if offset != begin + len(buffer):
                waiting = np.flatnonzero(self.blocks.shard == self.blocks.shard[wanted]).tolist()
                begin, buffer = offset, bytearray()
            buffer += piece
            while waiting and begin + len(buffer) >= stop[waiting[0]]:
                number = waiting.pop(0)
                end = int(stop[number]) - begin
                block = bytes(buffer[int(start[number]) - begin : end])
                begin += end
                del buffer[:end]
                if number == wanted:
                    found = block
                elif not self._damaged(number, block):
                    self.cache.put(self._name(number), block)
        return found


class BlockCache:
    """Blocks in files below one folder, at most `limit` bytes of them, shared by processes."""

    def __init__(self) -> None:
        """Read the settings.

        Raises:
            RasedError: RASED_CACHE_GB is not a number of gigabytes.
        """
        self.folder = cache_folder() / "blocks"
        given = os.environ.get("RASED_CACHE_GB", "")
        try:
            self.limit = round(float(given or _DEFAULT_GB) * 1e9)
        except ValueError as error:
            raise RasedError(
                f"RASED_CACHE_GB is '{given}'; give a number of gigabytes, such as 20."
            ) from error

    def hold(self, size: int) -> None:
        """Check that so many bytes of blocks can be there at the same time.

        Raises:
            RasedError: they would push each other out, and be fetched again and again.
        """
        if size > self.limit:
            raise RasedError(
                f"Blocks of {size / 1e9:.3g} GB are in use at a time and RASED_CACHE_GB allows {self.limit / 1e9:.3g}: "
                "raise it, or lower window or block_mb."
            )

    def get(self, name: str, at: int, size: int, *, length: int) -> tuple[bytes, bytes] | None:
        """Bytes [at, at + size) of a block of `length` bytes, and what is noted behind it; None if it is not whole."""
        try:
            with (self.folder / name).open("rb", buffering=0) as file:
                there = os.fstat(file.fileno()).st_size
                if there < length:  # cut short
                    return None
                os.utime(file.fileno())
                note = read_at(file.fileno(), there - length, length) if there > length else b""
                return read_at(file.fileno(), size, at), note
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Keep a block; the least recently used ones make room.

        Raises:
            RasedError: it is larger than the bound, or cannot be written.
        """
        if len(data) > self.limit:
            raise RasedError(
                f"A block has {len(data) / 1e9:.3g} GB and RASED_CACHE_GB allows {self.limit / 1e9:.3g}: raise it."
            )
        path = self.folder / name
        with _locked(self.folder / "used") as account, _writing(path):
            noted = account.read()
            used = int(noted) if noted else self._shrink(self.limit)
            if used + len(data) > self.limit:
                used = self._shrink(min(self.limit - len(data), self.limit * 9 // 10))
            account.seek(0)
            account.truncate()
            account.write(b"%d" % (used + len(data)))
            account.flush()
            path.parent.mkdir(exist_ok=True)
            _keep(path, data)

    def alone(self, name: str) -> AbstractContextManager[object]:
        """Hold off others who would fetch the same block."""
        number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % _LOCKS
        return _locked(self.folder / "locks" / f"{number:03d}")

    def _shrink(self, limit: int) -> int:
        """Remove the least recently used blocks beyond `limit` bytes, and what a dead process left; bytes that stay."""
        there = []
        for path in self.folder.glob("*/*-*"):
            if path.suffix == ".part":
                path.unlink()
            else:
                status = path.stat()
                there.append((status.st_mtime_ns, status.st_size, path))
        used = sum(size for _, size, _ in there)
        for _, size, path in sorted(there):
            if used <= limit:
                break
            path.unlink()
            used -= size
        return used


class _Origin(msgspec.Struct):
    """Where an index in the cache comes from, and which version it is."""

    url: Text = ""
    version: Text = ""


def _origin(folder: Path) -> _Origin:
    """What is known of the index in a folder; nothing where it was not fetched, or where the note is damaged."""
    if not (folder / ORIGIN).is_file():
        return _Origin()
    try:
        return documents.read(folder / ORIGIN, _Origin, repair="")
    except RasedError:
        return _Origin()


def _fetch_attribution(url: str, name: str, folder: Path) -> None:
    """Fetch a file that lies beside an index, or one level up."""
    for place in (url, url.rpartition("/")[0]):
        try:
            _keep(folder / name, whole(f"{place}/{name}")[0])
        except RefusedError:
            continue
        return


def _keep(path: Path, data: bytes) -> None:
    """Write a file that a reader sees whole or not at all; the caller holds a lock."""
    with _writing(path):
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_bytes(data)
        unfinished.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file that one process at a time holds; the lock of a process that dies goes with it."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        take_lock(file.fileno(), wait=True)
    with file:
        file.seek(0)
        yield file


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RemoteError(
            f"Cannot write '{path}' ({(error.strerror or str(error)).lower()}): make room, lower RASED_CACHE_GB, or "
            "choose another folder by RASED_CACHE."
        ) from error

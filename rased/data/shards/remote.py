"""Remote shards, over HTTP, S3 or any protocol of fsspec: fetched in blocks, cached on disk.

A block is a run of neighbouring samples of a shard, some megabytes long. It is fetched by one range request,
cached in one file, and treated as a unit by the epoch's order (`order.blockwise`). Blocks are named
after the SHA-256 of their shard in the index, so that blocks of an older version of a corpus are never used. All
processes of a machine share them, and a block that several processes need is fetched once.

Every sample of a fetched block is compared with its SHA-256 in the index. A block with differences is fetched once
more; samples that still differ are bad, and the block is fetched again after an hour. A truncated block in the
cache is fetched again.

Credentials and endpoints are those of fsspec: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL and the like, FSSPEC_S3_ANON=true, FSSPEC_HTTP_... or ~/.config/fsspec/*.json
(https://filesystem-spec.readthedocs.io, "Configuration").

Settings: RASED_CACHE, the cache folder (`config.cache_folder`), and RASED_CACHE_GB, the maximum size of the blocks
(default 20; the least recently used blocks are removed first).
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
"""Default megabytes in a block."""
INDEX = "index.json"
ORIGIN = "origin.json"
"""File next to a fetched index, with its origin and version."""
_LOCKS = 256
_DAMAGED_SECONDS = 3600.0
"""Seconds after which a block with damaged samples is fetched again."""
_DEFAULT_GB = 20.0


def is_remote(name: object) -> bool:
    """Return whether a name is a URL.

    >>> is_remote("s3://bucket/corpus"), is_remote("shards/speech")
    (True, False)
    """
    return "://" in str(name)


def find(name: str, roles: Sequence[str] = ("speech", "noise", "rir")) -> list[Path]:
    """Return local folders with the indices of the shards at a URL, or in one folder per role below it.

    Raises:
        RemoteError: there is no index, or it cannot be read.
    """
    base, found, reasons = name.rstrip("/"), [], []
    for url in (base, *(f"{base}/{role}" for role in roles)):
        try:
            found.append(mirror(url))
        except RefusedError as error:
            reasons.append(str(error))
        # The address itself is a folder of shards: there are none by role below it.
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
    """Return a local folder with the index.json of a remote folder of shards; fetched or checked once per process.

    It also contains the file of attributions that the index refers to.

    Raises:
        RefusedError: there is no index.
        RemoteError: it cannot be read, or is not an index.
    """
    folder = cache_folder() / "shards" / hashlib.sha256(url.encode()).hexdigest()[:32]
    address = f"{url}/{INDEX}"
    with _locked(folder / "lock"):
        kept = _origin(folder)
        data, version = whole(address, known=kept.version)
        # No data: the server answered that the known version is still current.
        if data or not kept.url:
            # Read before it replaces an index that works.
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
    """Return the URL that the index in a folder was fetched from; "" if the shards are in that folder."""
    return _origin(folder).url


@dataclass(frozen=True)
class Blocks:
    """Runs of neighbouring samples of an index that are fetched, cached and shuffled as a unit.

    Attributes:
        number: block of each row of the index, numbered in the order of the bytes.
        shard, start, stop: for each block its shard and the bytes [start, stop) there. No sample
            is in two blocks, and blocks do not overlap.
    """

    number: NDArray[np.int64]
    shard: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


def blocks(columns: Mapping[str, Any], block_mb: float = BLOCK_MB) -> Blocks:
    """Divide the rows of an index (columns shard, offset and bytes) into blocks of about `block_mb` megabytes.

    A sample belongs to the block in which it begins, so a block is longer by the rest of its last
    sample.

    Raises:
        RasedError: block_mb is not above 0.
    """
    if not block_mb > 0:
        raise RasedError(f"block_mb is {block_mb}; give megabytes in a block, such as {BLOCK_MB}.")
    shard, offset = columns["shard"], columns["offset"]
    place = offset // max(1, round(block_mb * 1e6))
    # One number for each pair of shard and place.
    cell = shard * (int(place.max(initial=0)) + 1) + place
    # Sort the rows by block, then offset: each block is a run of equal cells, which starts where the cell
    # changes.
    order = np.lexsort((offset, cell))
    first = np.flatnonzero(np.diff(cell[order], prepend=-1))
    number = np.empty(len(order), np.int64)
    number[order] = np.repeat(np.arange(len(first)), np.diff(first, append=len(order)))
    return Blocks(
        number=number,
        shard=shard[order[first]],
        start=offset[order[first]],
        # The end of the last sample of each block: a maximum over each run.
        stop=np.maximum.reduceat((offset + columns["bytes"])[order], first),
    )


class RemoteShards:
    """Reads the samples of a remote corpus; safe to fork and to pickle."""

    def __init__(self, url: str, shards: Any, columns: Mapping[str, Any], block_mb: float) -> None:
        """Set the shards of an index.

        Args:
            url: URL of their folder.
            shards: shards of the index, with name, bytes and sha256.
            columns: columns of the index.
            block_mb: megabytes in a block.
        """
        self.url, self.shards, self.columns = url, shards, columns
        self.blocks = blocks(columns, block_mb)
        self.cache = BlockCache()

    def read(self, row: int, skip: int, size: int) -> bytes:
        """Return `size` bytes of the sample in a row, after its first `skip`, from the cache if possible.

        Raises:
            RemoteError: the shard cannot be read, or is not the one in the index.
            RasedError: the SHA-256 of the sample is not that in the index, also after fetching it again.
        """
        number = int(self.blocks.number[row])
        place = int(self.columns["offset"][row] - self.blocks.start[number])
        found = self._look(number, place + skip, size)
        if found is None:
            with self.cache.alone(self._name(number)):
                # Look again: another process may have fetched the block while this one waited for the lock.
                found = self._look(number, place + skip, size)
                if found is None:
                    found = self._bring(number, place + skip, size)
        data, damaged = found
        if place in damaged:
            shard = f"{self.url}/{self.shards[int(self.columns['shard'][row])].name}"
            raise RasedError(
                f"Sample {self.columns['key'][row]} of {shard} has changed since packing (sha256, fetched twice): "
                "check its folder with `rased data verify` on the machine that stores it, and copy it again."
            )
        return data

    def _look(self, number: int, at: int, size: int) -> tuple[bytes, Collection[int]] | None:
        """Return bytes of a cached block, and where its damaged samples begin; None if it has to be fetched."""
        length = int(self.blocks.stop[number] - self.blocks.start[number])
        found = self.cache.get(self._name(number), at, size, length=length)
        if found is None or not found[1]:
            # None stays None.
            return found and (found[0], ())
        note = json.loads(found[1])
        return None if time.time() > note["until"] else (found[0], note["damaged"])

    def _bring(self, number: int, at: int, size: int) -> tuple[bytes, Collection[int]]:
        """Fetch a block into the cache, twice if a sample has changed since packing; return like `_look`."""
        block = self._fetch(number)
        if self._damaged(number, block):
            block = self._fetch(number)
        damaged = self._damaged(number, block)
        note = {"damaged": damaged, "until": time.time() + _DAMAGED_SECONDS}
        self.cache.put(self._name(number), block + (json.dumps(note).encode() if damaged else b""))
        return block[at : at + size], damaged

    def _damaged(self, number: int, block: bytes) -> list[int]:
        """Return where samples begin in a block that are not those of the index."""
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
        """Fetch a block. A server without ranges sends the whole shard, whose other good blocks are cached, too."""
        start, stop = self.blocks.start, self.blocks.stop
        shard = self.shards[int(self.blocks.shard[wanted])]
        # A server with ranges sends this block alone.
        waiting, begin, buffer, found = [wanted], int(start[wanted]), bytearray(), b""
        for _, offset, piece in transfer(
            f"{self.url}/{shard.name}", begin, int(stop[wanted]), total=shard.bytes
        ):
            # The server ignored the range and began with the file: now all blocks of the shard come, in order.
            if offset != begin + len(buffer):
                waiting = np.flatnonzero(self.blocks.shard == self.blocks.shard[wanted]).tolist()
                begin, buffer = offset, bytearray()
            buffer += piece
            while waiting and begin + len(buffer) >= stop[waiting[0]]:
                number = waiting.pop(0)
                end = int(stop[number]) - begin
                # Between two blocks, there are headers and the JSON of samples, which belong to none.
                block = bytes(buffer[int(start[number]) - begin : end])
                begin += end
                del buffer[:end]
                if number == wanted:
                    found = block
                elif not self._damaged(number, block):
                    self.cache.put(self._name(number), block)
        return found


class BlockCache:
    """Files of blocks in a folder, at most `limit` bytes, shared by processes."""

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
        """Check that a number of bytes fits the cache at once.

        Raises:
            RasedError: the blocks would evict each other, and be fetched again and again.
        """
        if size > self.limit:
            raise RasedError(
                f"Blocks of {size / 1e9:.3g} GB are in use at once, but RASED_CACHE_GB allows {self.limit / 1e9:.3g}: "
                "raise it, or lower window or block_mb."
            )

    def get(self, name: str, at: int, size: int, *, length: int) -> tuple[bytes, bytes] | None:
        """Return bytes [at, at + size) of a block of `length` bytes, and the note after it; None if incomplete."""
        try:
            with (self.folder / name).open("rb", buffering=0) as file:
                there = os.fstat(file.fileno()).st_size
                if there < length:  # truncated
                    return None
                # The time of the last use, by which `_shrink` sorts.
                os.utime(file.fileno())
                note = read_at(file.fileno(), there - length, length) if there > length else b""
                return read_at(file.fileno(), size, at), note
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        """Store a block; remove the least recently used ones if necessary.

        Raises:
            RasedError: it is larger than the limit, or cannot be written.
        """
        if len(data) > self.limit:
            raise RasedError(
                f"A block has {len(data) / 1e9:.3g} GB, but RASED_CACHE_GB allows {self.limit / 1e9:.3g}: raise it."
            )
        path = self.folder / name
        # The file `used` counts the bytes in the cache, so that not every block needs a walk through the
        # folder.
        with _locked(self.folder / "used") as account, _writing(path):
            noted = account.read()
            used = int(noted) if noted else self._shrink(self.limit)
            if used + len(data) > self.limit:
                # Remove a tenth more than necessary, so that the next blocks find room without another walk.
                used = self._shrink(min(self.limit - len(data), self.limit * 9 // 10))
            # Opened for appending: after truncation, the number is written at the beginning.
            account.seek(0)
            account.truncate()
            account.write(b"%d" % (used + len(data)))
            account.flush()
            path.parent.mkdir(exist_ok=True)
            _keep(path, data)

    def alone(self, name: str) -> AbstractContextManager[object]:
        """Hold a lock, so that no other process fetches the same block."""
        # A fixed number of lock files: two blocks may share one and wait for each other, but no files pile
        # up.
        number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % _LOCKS
        return _locked(self.folder / "locks" / f"{number:03d}")

    def _shrink(self, limit: int) -> int:
        """Remove old blocks beyond `limit` bytes, and files of dead processes; return the bytes that remain."""
        there = []
        for path in self.folder.glob("*/*-*"):
            # Nobody writes it: the caller holds the lock.
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
    """Origin and version of an index in the cache."""

    url: Text = ""
    version: Text = ""


def _origin(folder: Path) -> _Origin:
    """Return the origin of the index in a folder; empty if it was not fetched, or if the note is damaged."""
    if not (folder / ORIGIN).is_file():
        return _Origin()
    try:
        return documents.read(folder / ORIGIN, _Origin, repair="")
    except RasedError:
        return _Origin()


def _fetch_attribution(url: str, name: str, folder: Path) -> None:
    """Fetch a file from the folder of an index, or from the folder above."""
    # All roles of a corpus may share one file in the folder above.
    for place in (url, url.rpartition("/")[0]):
        try:
            _keep(folder / name, whole(f"{place}/{name}")[0])
        except RefusedError:
            continue
        return


def _keep(path: Path, data: bytes) -> None:
    """Write a file atomically; the caller holds a lock."""
    with _writing(path):
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_bytes(data)
        unfinished.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file that only one process at a time can hold; the lock ends with the process."""
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
            f"Cannot write '{path}' ({(error.strerror or str(error)).lower()}): free space, lower RASED_CACHE_GB, or "
            "choose another folder with RASED_CACHE."
        ) from error

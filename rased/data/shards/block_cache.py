"""Blocks of remote shards: how the samples of an index form blocks, and their cache, which processes share."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rased.data.shards.address import RemoteError
from rased.errors import RasedError
from rased.machine import cache_folder, read_at, take_lock

BLOCK_MB = 8.0
"""Default megabytes in a block."""
_LOCKS = 256
_DEFAULT_GB = 20.0


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
        with locked(self.folder / "used") as account, writing(path):
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
            keep(path, data)

    def alone(self, name: str) -> AbstractContextManager[object]:
        """Hold a lock, so that no other process fetches the same block."""
        # A fixed number of lock files: two blocks may share one and wait for each other, but no files pile
        # up.
        number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % _LOCKS
        return locked(self.folder / "locks" / f"{number:03d}")

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


def keep(path: Path, data: bytes) -> None:
    """Write a file atomically; the caller holds a lock."""
    with writing(path):
        unfinished = path.with_name(path.name + ".part")
        unfinished.write_bytes(data)
        unfinished.replace(path)


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file that only one process at a time can hold; the lock ends with the process."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        take_lock(file.fileno(), wait=True)
    with file:
        file.seek(0)
        yield file


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise RemoteError if a file of the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise RemoteError(
            f"Cannot write '{path}' ({(error.strerror or str(error)).lower()}): free space, lower RASED_CACHE_GB, or "
            "choose another folder with RASED_CACHE."
        ) from error

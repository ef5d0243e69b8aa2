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

Settings: RASED_CACHE, the cache folder (`machine.cache_folder`), and RASED_CACHE_GB, the maximum size of the blocks
(default 20; the least recently used blocks are removed first).
"""

import functools
import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rased import documents
from rased.data.columns import hexadecimal
from rased.data.schemas import ROLES, read_index_head
from rased.data.shards.address import Address, RefusedError, RemoteError, address
from rased.data.shards.block_cache import BlockCache, blocks, keep, locked, writing
from rased.data.shards.transfer import fetched, transfer, whole
from rased.documents import Text
from rased.errors import RasedError
from rased.machine import cache_folder

INDEX = "index.json"
ORIGIN = "origin.json"
"""File next to a fetched index, with its origin and version."""
_DAMAGED_SECONDS = 3600.0
"""Seconds after which a block with damaged samples is fetched again."""


def find(name: str, roles: Sequence[str] = ROLES) -> list[Path]:
    """Return local folders with the indices of the shards at a URL, or in one folder per role below it.

    Raises:
        RemoteError: there is no index, or it cannot be read.
    """
    base, found, reasons = address(name), [], []
    for place in (base, *(base / role for role in roles)):
        try:
            found.append(mirror(place))
        except RefusedError as error:
            reasons.append(str(error))
        # The address itself is a folder of shards: there are none by role below it.
        if found and place == base:
            break
    if not found:
        raise RemoteError(
            f"No shards at '{base}'. {' '.join(reasons)} Upload a whole folder with `rased data push FOLDER ADDRESS`, "
            "or copy it there, index.json last."
        )
    return found


@functools.cache
def mirror(place: Address) -> Path:
    """Return a local folder with the index.json of a remote folder of shards; fetched or checked once per process.

    It also contains the file of attributions that the index refers to.

    Raises:
        RefusedError: there is no index.
        RemoteError: it cannot be read, or is not an index.
    """
    folder = cache_folder() / "shards" / hashlib.sha256(str(place).encode()).hexdigest()[:32]
    with locked(folder / "lock"):
        kept, unread = _kept(folder), folder / f"{INDEX}.new"
        with writing(unread):
            version = fetched(place / INDEX, unread, known=kept.version)
        # None: the server answered that the known version is still current.
        if version is None and kept.url:
            unread.unlink()
        else:
            # Read before it replaces an index that works.
            try:
                head = read_index_head(unread, repair="Copy the one that `rased data pack` wrote.")
            except RasedError as error:
                unread.unlink()
                message = str(error).replace(f"'{unread}'", f"'{place / INDEX}'")
                raise RemoteError(message) from error
            if head.attribution:
                _fetch_attribution(place, head.attribution, folder)
            unread.replace(folder / INDEX)
            note = {"url": str(place), "version": version or ""}
            keep(folder / ORIGIN, json.dumps(note).encode())
    return folder


def origin(folder: Path) -> Address | None:
    """Return the address that the index in a folder was fetched from; None if the shards are in that folder."""
    url = _kept(folder).url
    return Address(url) if url else None


class RemoteShards:
    """Reads the samples of a remote corpus; safe to fork and to pickle."""

    def __init__(
        self, place: Address, shards: Any, columns: Mapping[str, Any], block_mb: float
    ) -> None:
        """Set the shards of an index.

        Args:
            place: address of their folder.
            shards: shards of the index, with name, bytes and sha256.
            columns: columns of the index.
            block_mb: megabytes in a block.
        """
        self.place, self.shards, self.columns = place, shards, columns
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
            shard = self.place / self.shards[int(self.columns["shard"][row])].name
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
            self.place / shard.name, begin, int(stop[wanted]), total=shard.bytes
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


class _Kept(msgspec.Struct):
    """Origin and version of an index in the cache."""

    url: Text = ""
    version: Text = ""


def _kept(folder: Path) -> _Kept:
    """Return the origin of the index in a folder; empty if it was not fetched, or if the note is damaged."""
    if not (folder / ORIGIN).is_file():
        return _Kept()
    try:
        return documents.read(folder / ORIGIN, _Kept, repair="")
    except RasedError:
        return _Kept()


def _fetch_attribution(place: Address, name: str, folder: Path) -> None:
    """Fetch a file from the folder of an index, or from the folder above."""
    # All roles of a corpus may share one file in the folder above.
    for above in (place, place.parent):
        try:
            keep(folder / name, whole(above / name))
        except RefusedError:
            continue
        return

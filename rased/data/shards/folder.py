"""A folder of shards while it is written: begin, continue after an interruption, fill, or reject."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rased import documents
from rased.data.schemas import Codec, Shard
from rased.data.shards.index import INDEX
from rased.data.shards.tars import Details, Rows, ShardWriter, read_shard, room_for
from rased.disk import PART, on_disk, sha256, write_json
from rased.documents import Text
from rased.errors import RasedError, shown
from rased.machine import open_folder, take_lock

RECORD = "pack.json"
"""Records how a folder was packed; without an index next to it, the run was interrupted."""
SKIPPED = "skipped.json"


@dataclass(frozen=True)
class Skipped:
    """A file that was skipped, with the reason."""

    path: Text
    reason: Text


def read_skipped(out: Path) -> tuple[Skipped, ...]:
    """Return the files that were skipped when a folder was written.

    Raises:
        RasedError: the list is damaged.
    """
    path = out / SKIPPED
    if not path.is_file():
        return ()
    repair = f"Remove it, or remove '{out}' and pack again."
    return tuple(documents.read(path, list[Skipped], repair=repair))


@contextmanager
def writing(
    out: Path, kept: str = "Complete shards are kept: free some space, or choose another --out"
) -> Iterator[None]:
    """Make a folder, and lock it against other writers of shards; see `on_disk`.

    Raises:
        RasedError: the disk is full or not writable, or another process writes into the folder.
    """
    with on_disk(out, kept):
        out.mkdir(parents=True, exist_ok=True)
        # The folder itself carries the lock, so that no file is left in it.
        folder = open_folder(out)
        try:
            if not take_lock(folder):
                raise RasedError(
                    f"Another process is writing into '{out}': wait for it, or choose another folder."
                )
            yield
        finally:
            if folder is not None:
                os.close(folder)


def begin(out: Path, request: dict[str, Any]) -> bool:
    """Prepare `out` for this request; return True if it is already complete."""
    record = out / RECORD
    earlier = None
    if record.is_file():
        repair = f"Remove '{out}' and pack again."
        earlier = documents.plain(
            documents.read_bytes(record, repair=repair), of=record, repair=repair
        )
        if not isinstance(earlier, dict):
            raise RasedError(
                f"'{record}' is damaged: it is {shown(earlier)}; expected fields. {repair}"
            )
    if earlier is not None and earlier != request:
        differs = [name for name in request if earlier.get(name) != request[name]]
        state = "is packed" if (out / INDEX).is_file() else "contains an unfinished pack"
        raise RasedError(
            f"'{out}' {state} from other input or settings (different: {', '.join(differs)}); "
            "choose another --out, or remove that folder."
        )
    if earlier is None:
        strange = sorted(
            path.name
            for path in out.iterdir()
            if path.name in (INDEX, SKIPPED) or path.suffix == ".tar"
        )
        if strange:
            raise RasedError(
                f"'{out}' already contains {', '.join(strange[:3])}, but no {RECORD}; "
                "choose an empty --out."
            )
        write_json(record, request)
    return (out / INDEX).is_file()


def recover(out: Path) -> Rows:
    """Return the complete shards of an interrupted run; remove the incomplete one."""
    # The shard that was being written; its samples are packed again.
    for left in out.glob("*" + PART):
        left.unlink()
    rows = Rows()
    for shard in sorted(out.glob("*.tar")):
        try:
            for stored in read_shard(shard):
                digest = hashlib.sha256(stored.audio).hexdigest()
                size = len(stored.audio)
                rows.add(stored.details, offset=stored.offset, size=size, digest=digest)
        except RasedError as error:
            raise RasedError(f"{error} The file is from an earlier run: remove it.") from error
        rows.shards.append(Shard(shard.name, shard.stat().st_size, sha256(shard)))
    return rows


class Writer:
    """Write samples into numbered shards; start a new shard for each split and when one is full."""

    def __init__(self, out: Path, rows: Rows, codec: Codec, *, shard_mb: float) -> None:
        """Append to the rows and their shards; a shard ends before it exceeds `shard_mb` megabytes."""
        self._out, self._rows, self._codec = out, rows, codec
        self._limit = int(shard_mb * 1_000_000)
        self._split = ""
        self._shard: ShardWriter | None = None

    def __enter__(self) -> "Writer":
        """Open nothing before the first sample."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Complete the last shard; after an error remove it."""
        if kind is None:
            self._finish()
        elif self._shard is not None:
            self._shard.abandon()

    def write(self, details: Details, audio: bytes) -> None:
        """Append a sample."""
        if self._shard is not None:
            full = self._shard.size + room_for(details, audio) > self._limit
            if full or details["split"] != self._split:
                self._finish()
        if self._shard is None:
            self._split = details["split"]
            # Counted, because a continued run has shards already.
            number = sum(s.name.startswith(f"{self._split}-") for s in self._rows.shards)
            self._shard = ShardWriter(self._out / f"{self._split}-{number:06d}.tar")
        offset = self._shard.write(details, self._codec, audio)
        digest = hashlib.sha256(audio).hexdigest()
        self._rows.add(details, offset=offset, size=len(audio), digest=digest)

    def _finish(self) -> None:
        if self._shard is not None:
            self._rows.shards.append(self._shard.finish())
            self._shard = None

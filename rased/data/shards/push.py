"""Upload folders of shards: what is there already is skipped, and index.json comes last."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rased.data.schemas import ROLES, Shard, read_index_head
from rased.data.shards.address import RemoteError, address
from rased.data.shards.index import INDEX
from rased.data.shards.stores import Store, store
from rased.disk import sha256
from rased.errors import RasedError


@dataclass(frozen=True)
class Pushed:
    """Result of `push` for one folder.

    Attributes:
        folder: the local folder.
        address: where its files are now, without credentials.
        files: number of files there.
        bytes: their total size.
        sent: number of files that were not there before.
    """

    folder: Path
    address: str
    files: int
    bytes: int
    sent: int


def push(
    folder: Path, to: str, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Pushed]:
    """Upload a folder of shards, or the folders of shards in it, to an address; continue an interrupted upload.

    Every file is compared with its checksum at the address, shards also with the index before. A reader needs
    index.json, so it sees the whole corpus or none.

    Args:
        folder: folder with an index.json, or with such folders named after their roles.
        to: address of the folder; see `rased.data.shards.address`.
        progress: called with (files done, total files).

    Raises:
        RasedError: there are no shards, or a shard differs from its index.
        RemoteError: the address contains other shards, or cannot be written.
    """
    place = address(to)
    if (folder / INDEX).is_file():
        targets = [(folder, place)]
    else:
        found = [role for role in ROLES if (folder / role / INDEX).is_file()]
        targets = [(folder / role, place / role) for role in found]
    if not targets:
        raise RasedError(
            f"No shards in '{folder}': neither it nor a folder {', '.join(ROLES)} in it contains {INDEX}. Write them "
            "with `rased data pack`."
        )
    files = [_files(each) for each, _ in targets]
    total, before = sum(map(len, files)), 0
    pushed = []
    for (each, where), names in zip(targets, files, strict=True):

        def step(done: int, before: int = before) -> None:
            progress(before + done, total)

        sent = _push(each, names, store(where), step)
        size = sum(file.stat().st_size for file in names.values())
        pushed.append(Pushed(each, str(where), len(names), size, sent))
        before += len(names)
    return pushed


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder of shards by their names at the address, index.json last."""
    head = read_index_head(folder / INDEX, repair=_mend(folder))
    files = {shard.name: folder / shard.name for shard in head.shards}
    if head.attribution:
        # All roles of a corpus may share one file in the folder above.
        for place in (folder.parent, folder):
            if (place / head.attribution).is_file():
                files[head.attribution] = place / head.attribution
    _check(folder, head.shards)
    return files | {INDEX: folder / INDEX}


def _mend(folder: Path) -> str:
    return f"Rebuild it with `rased data verify {folder} --repair`."


def _check(folder: Path, shards: Sequence[Shard]) -> None:
    """Check that the shards are there with their sizes.

    Raises:
        RasedError: one is not.
    """
    for shard in shards:
        file = folder / shard.name
        if not file.is_file() or file.stat().st_size != shard.bytes:
            raise RasedError(
                f"'{file}' is missing, or does not have the {shard.bytes} bytes of its index. {_mend(folder)}"
            )


def _push(folder: Path, files: dict[str, Path], target: Store, step: Callable[[int], None]) -> int:
    """Upload the files in their order; return the number of those that were sent.

    Raises:
        RasedError: a shard differs from its index.
        RemoteError: the address contains other shards, or a file does not arrive as it is.
    """
    there = target.names()
    _refuse_others(files, there, target)
    head = read_index_head(folder / INDEX, repair=_mend(folder))
    digests = {shard.name: shard.sha256 for shard in head.shards}
    sent = 0
    for done, (name, file) in enumerate(files.items()):
        step(done)
        if name == INDEX:
            _refuse_missing(files, target)
        if name in there and target.holds(file, name):
            continue
        if name in digests and sha256(file) != digests[name]:
            raise RasedError(f"'{file}' differs from its index (sha256). {_mend(folder)}")
        target.send(file, name)
        sent += 1
        if not target.holds(file, name):
            raise RemoteError(
                f"'{target.place / name}' arrived with another size or checksum: run the same command again."
            )
    step(len(files))
    return sent


def _refuse_others(files: dict[str, Path], there: set[str], target: Store) -> None:
    """Check that the address contains nothing of another corpus.

    Raises:
        RemoteError: it contains another index, or shards that this one does not have.
    """
    strange = sorted(name for name in there - files.keys() if name.endswith(".tar"))
    if INDEX in there and not target.holds(files[INDEX], INDEX):
        strange = [INDEX, *strange]
    if strange:
        raise RemoteError(
            f"'{target.place}' contains {', '.join(strange[:3])} of another corpus, which readers may be using: choose "
            "another address, or remove that corpus first."
        )


def _refuse_missing(files: dict[str, Path], target: Store) -> None:
    """Check, before the index comes, that the address lists every other file.

    Raises:
        RemoteError: one is missing.
    """
    missing = sorted(files.keys() - target.names() - {INDEX})
    if missing:
        raise RemoteError(
            f"'{target.place}' does not list {', '.join(missing[:3])} after the upload: run the same command again."
        )

"""Repair a folder of shards: rewrite the index, and damaged shards without their damaged samples."""

import hashlib
import shutil
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rased import documents
from rased.data.integrity.judge import altered, head_of, is_shards, is_whole, judge
from rased.data.integrity.known import Known, load
from rased.data.schemas import Codec, Role, Shard
from rased.data.shards.folder import writing
from rased.data.shards.index import INDEX, write_index
from rased.data.shards.tars import Rows, ShardWriter, read_shard
from rased.disk import sha256, write_json
from rased.documents import Text
from rased.errors import RasedError

DROPPED = "dropped.json"
"""Samples that repairs removed from the index, with reasons."""
DAMAGED = ".damaged"


def repair(folder: Path) -> list[str]:
    """Repair a folder of shards; return what was done, one sentence each. Good samples do not change.

    The index is rewritten from the tar files. A shard with damaged samples is rewritten without them, and the
    damaged file is kept in the same folder; dropped.json lists what was removed. If the index contradicts the json
    of a sample, the SHA-256 of the shard shows which of the two is damaged.

    Raises:
        RasedError: no good sample, or shards of several roles, codecs or sample rates; no space
            left, or another process writes into the folder.
    """
    if not is_shards(folder):
        return []
    with writing(folder, "Nothing is lost: free some space"):
        return _repair(folder)


def _repair(folder: Path) -> list[str]:
    stored, _ = load(folder)
    known, head = Known(stored), head_of(stored)
    listed = {} if stored is None else {shard.name: shard for shard in stored.head.shards}
    # Which samples of each shard are good.
    looked_at = {}
    for path in sorted(folder.glob("*.tar")):
        whole = path.name in listed and is_whole(path, listed[path.name])
        # A shard that is as it was packed needs no comparison: if the index differs, the index is wrong.
        looked_at[path] = _inspect(path, {} if whole else known, head)
    kinds = {kind for look in looked_at.values() for kind in look.kinds}
    if not kinds:
        raise RasedError(f"{folder} has no good samples; pack it again.")
    if len(kinds) > 1:
        raise RasedError(
            f"{folder} mixes shards of different kinds, {sorted(kinds)}: separate them."
        )
    # Rewrite shards with damaged samples, and collect the rows of the new index.
    role, codec, sample_rate = kinds.pop()
    rows, done, keys = Rows(), [], set[str]()
    dropped: list[dict[str, str]] = []
    for path, look in looked_at.items():
        twice = look.good & keys
        for key in sorted(twice):
            look.lost.append((key, "its key is in an earlier shard too"))
        keys |= look.good
        dropped += [{"key": key, "shard": path.name, "reason": why} for key, why in look.lost]
        if look.lost or look.mended:
            aside = _rewrite(path, look.good - twice, look.known, head)
            from_index = f", the json of {len(look.mended)} from the index" if look.mended else ""
            done.append(
                f"{path.name} was rewritten with its {len(look.good - twice)} good samples"
                f"{from_index}; the damaged file is kept as {aside.name}"
            )
        if path.exists():
            _add(path, rows)
    # What the index lists, but no shard holds.
    for key in known.keys() - keys - {entry["key"] for entry in dropped}:
        shard = known[key]["shard"]
        reason = "it is not there" if folder / shard in looked_at else "its shard is missing"
        dropped.append({"key": key, "shard": shard, "reason": reason})
    dropped.sort(key=lambda entry: (entry["shard"], entry["key"]))
    before = (folder / INDEX).read_bytes() if (folder / INDEX).is_file() else b""
    write_index(
        folder,
        role=role,
        codec=codec,
        sample_rate=sample_rate,
        shards=rows.shards,
        licences=rows.licences,
        columns=rows.columns,
        attribution="LICENSES.md" if (folder / "LICENSES.md").is_file() else None,
    )
    if (folder / INDEX).read_bytes() != before:
        done.append(f"{INDEX} was rewritten with {len(rows)} samples")
    if dropped:
        list_file = folder / DROPPED
        write_json(list_file, _earlier(list_file) + dropped)
        done.append(f"{len(dropped)} dropped samples or places are listed in {DROPPED}")
    return done


def _earlier(list_file: Path) -> list[dict[str, str]]:
    """Return what earlier repairs removed."""
    if not list_file.is_file():
        return []
    return documents.read(list_file, list[dict[str, Text]], repair="Rename it, and repair again.")


@dataclass
class _Look:
    """The state of a shard.

    Attributes:
        known: rows of the index to compare with; empty if the shard matches its entry in the index.
        good: keys of good samples.
        mended: keys among them whose json is restored from the index.
        lost: keys of the others, with reasons.
        kinds: kinds of the good samples.
    """

    known: Mapping[str, Mapping[str, Any]]
    good: set[str] = field(default_factory=set)
    mended: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    kinds: set[tuple[Role, Codec, int]] = field(default_factory=set)


def _inspect(path: Path, known: Mapping[str, Mapping[str, Any]], head: Mapping[str, Any]) -> _Look:
    look = _Look(known)
    for stored in read_shard(path, damaged=lambda key, reason: look.lost.append((key, reason))):
        key, digest = stored.details["key"], hashlib.sha256(stored.audio).hexdigest()
        details, reason = judge(stored, digest, known.get(key), head)
        if key in look.good:
            reason = "its key occurs twice in the shard"
        if reason:
            look.lost.append((key, reason))
        else:
            look.good.add(key)
            look.kinds.add((details["role"], stored.codec, details["sample_rate"]))
            if altered(stored.details, details):
                look.mended.append(key)
    return look


def _rewrite(
    path: Path,
    keep: Set[str],
    known: Mapping[str, Mapping[str, Any]],
    head: Mapping[str, Any],
) -> Path:
    """Write the samples to keep, the first of each key, under the shard's name; return the path of the old file."""
    left = set(keep)
    writer = ShardWriter(path)
    try:
        for stored in read_shard(path, damaged=lambda key, reason: None):
            key, digest = stored.details["key"], hashlib.sha256(stored.audio).hexdigest()
            details, reason = judge(stored, digest, known.get(key), head)
            # `left`: only the first of equal keys is kept.
            if key in left and not reason:
                writer.write(details, stored.codec, stored.audio)
                left.remove(key)
        aside = path.with_name(path.name + DAMAGED)
        while aside.exists():
            aside = aside.with_name(aside.name + DAMAGED)
        if not keep:
            path.replace(aside)
            return aside
        try:
            # The old file has both names until `finish` replaces the first one: at no moment is there none.
            _keep(path, aside)
            writer.finish()
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    finally:
        writer.abandon()
    return aside


def _keep(path: Path, aside: Path) -> None:
    """Give a file a second name; the first name stays until another file replaces it."""
    try:
        aside.hardlink_to(path)
    except OSError:  # a file system without such names
        shutil.copyfile(path, aside)


def _add(path: Path, rows: Rows) -> None:
    """Append a complete shard to the rows of an index."""
    for stored in read_shard(path):
        digest = hashlib.sha256(stored.audio).hexdigest()
        rows.add(stored.details, offset=stored.offset, size=len(stored.audio), digest=digest)
    rows.shards.append(Shard(path.name, path.stat().st_size, sha256(path)))

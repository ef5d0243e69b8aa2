"""Are shards, index and splits what they should be, sample by sample; and how to mend what is not."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from rased.data import remote
from rased.data.columns import Names
from rased.data.folder import writing
from rased.data.freeze import TESTSET, list_sha256
from rased.data.known import SUMS, Known, Seen, load
from rased.data.shards import INDEX, Codec, Role, Shard, bundle, write_index
from rased.data.sources import ROLES, SPLITS
from rased.data.tars import (
    PART,
    Details,
    Rows,
    ShardWriter,
    Stored,
    read_shard,
    sha256,
    write_json,
)
from rased.errors import RasedError

DROPPED = "dropped.json"
"""What repairs left out of the index, and why."""
DAMAGED = ".damaged"
_REPEATED = ("split", "label", "licence", "frames")
"""What the index repeats of the json of a sample."""
_SUFFIX = r"\.(?:wav|ogg|flac|mp3|opus|aiff?|au)\b"
_LABEL: dict[Role, str] = {"speech": "speaker", "noise": "noise type", "rir": "room"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    folder: Path
    what: str
    repair: str

    def __str__(self) -> str:
        """The sentence for a person."""
        return f"{self.folder}: {self.what}. Repair: {self.repair}."


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        folders: that were looked at.
        samples: that were decoded and compared.
        problems: what is wrong.
    """

    folders: tuple[Path, ...]
    samples: int
    problems: tuple[Problem, ...]


@dataclass
class _Shards:
    """What one folder of shards holds, by its tar files."""

    folder: Path
    role: Role | None = None
    head: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 0
    problems: list[Problem] = field(default_factory=list)

    def complain(self, what: str, repair: str = "") -> None:
        """Note a problem; most are mended by --repair."""
        repair = repair or f"`rased data verify {self.folder} --repair`"
        self.problems.append(Problem(self.folder, what, repair))


def find(name: str | Path) -> list[Path]:
    """Return the folders of shards and frozen test sets in a folder or directly below it.

    Args:
        name: a folder, or `bundle`.

    Raises:
        RasedError: no such folder, or nothing in it.
    """
    base = bundle() if str(name) == "bundle" else Path(name)
    if remote.is_remote(name):
        raise RasedError(f"'{name}' is not on this machine: verify shards where they lie.")
    if not base.is_dir():
        raise RasedError(f"'{name}' is not a folder; give a folder of shards, or 'bundle'.")
    candidates = [base, *sorted(path for path in base.iterdir() if path.is_dir())]
    found = [path for path in candidates if _is_shards(path) or (path / TESTSET).is_file()]
    if not found:
        raise RasedError(
            f"'{name}' holds no shards ({INDEX}, *.tar) and no test set ({TESTSET}); write shards with "
            "`rased data pack`."
        )
    return found


def verify(
    folders: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Checked:
    """Check shards and frozen test sets completely: every byte hashed, every sample decoded.

    Shards: the index against the tar files, hashes, lengths, the splits of all given folders of one
    role disjoint in recordings (by hash and by named source) and, but for noise, whose types may
    recur, in labels. Test sets: hashes, lengths, nothing missing, nothing too much.

    Args:
        folders: as `find` gives them.
        progress: called with (files done, files in all); a test set is one file.
    """
    total = sum(len([*path.glob("*.tar")]) + (path / TESTSET).is_file() for path in folders)
    steps = count(1)

    def step() -> None:
        progress(next(steps), total)

    seen = Seen()
    shards = [_check_shards(path, seen, step) for path in folders if _is_shards(path)]
    problems = [problem for each in shards for problem in each.problems]
    for role in ROLES:
        problems += _overlaps(role, [each.folder for each in shards if each.role == role], seen)
    samples = sum(each.samples for each in shards)
    for path in folders:
        if (path / TESTSET).is_file():
            mixtures, found = _check_testset(path)
            samples += mixtures
            problems += found
            step()
    return Checked(tuple(folders), samples, tuple(problems))


def repair(folder: Path) -> list[str]:
    """Mend a folder of shards and return what was done, one sentence each; good samples stay as they are.

    The index is written anew from the tar files. A shard with damaged samples is written again
    without them, the damaged file kept beside it; what is left out is listed in dropped.json. Where
    the index contradicts the json of a sample, the shard's SHA-256 tells which of the two is damaged.

    Raises:
        RasedError: not one good sample, or shards of several roles, codecs or sample rates; no space
            left, or another process writes into the folder.
    """
    if not _is_shards(folder):
        return []
    with writing(folder, "Nothing is lost: make room"):
        return _repair(folder)


def _repair(folder: Path) -> list[str]:
    stored, _ = load(folder)
    known, head = Known(stored), _head(stored)
    listed = {shard["name"]: shard for shard in (stored or {"shards": []})["shards"]}
    looked_at = {}
    for path in sorted(folder.glob("*.tar")):
        whole = path.name in listed and _is_whole(path, listed[path.name])
        looked_at[path] = _inspect(path, {} if whole else known, head)
    kinds = {kind for look in looked_at.values() for kind in look.kinds}
    if not kinds:
        raise RasedError(f"{folder} holds not one good sample; pack it again.")
    if len(kinds) > 1:
        raise RasedError(f"{folder} mixes shards of several kinds, {sorted(kinds)}: part them.")
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
                f"{path.name} was written again with its {len(look.good - twice)} good samples"
                f"{from_index}; the damaged file is kept as {aside.name}"
            )
        if path.exists():
            _add(path, rows)
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
        done.append(f"{INDEX} was written anew with {len(rows)} samples")
    if dropped:
        list_file = folder / DROPPED
        earlier = json.loads(list_file.read_bytes()) if list_file.is_file() else []
        write_json(list_file, earlier + dropped)
        done.append(f"{len(dropped)} dropped samples or places are listed in {DROPPED}")
    return done


def summary(name: str | Path) -> list[dict[str, Any]]:
    """Return what the folders of shards and test sets below `name`, or a URL, hold, from their indices alone.

    Raises:
        RasedError: nothing there, or an index that cannot be used.
    """
    found = []
    for folder in remote.find(str(name)) if remote.is_remote(name) else find(name):
        if _is_shards(folder):
            found.append(_summary_of_shards(folder))
        if (folder / TESTSET).is_file():
            found.append(_summary_of_testset(folder))
    return found


def _summary_of_shards(folder: Path) -> dict[str, Any]:
    stored, trouble = load(folder, SUMS)
    if stored is None:
        raise RasedError(
            f"{folder}: {trouble}; mend it with `rased data verify {folder} --repair`."
        )
    columns, licences, splits = stored["columns"], stored["licences"], []
    for split in sorted(set(Names(np.unique(columns["split"]))), key=_place_of_split):
        of = columns["split"] == split.encode()
        frames, size = (int(columns[name][of].sum(dtype=np.int64)) for name in ("frames", "bytes"))
        splits.append(
            {
                "split": split,
                "files": int(of.sum()),
                "seconds": round(frames / stored["sample_rate"], 3),
                "labels": len(np.unique(columns["label"][of])),
                "bytes": size,
                "licences": sorted({licences[code] for code in np.unique(columns["licence"][of])}),
            }
        )
    return {
        "folder": remote.origin(folder) or str(folder),
        "what": f"{stored['role']}, {stored['codec']}, {stored['sample_rate']} Hz, "
        f"{len(stored['shards'])} shards",
        **{key: stored[key] for key in ("role", "codec", "sample_rate", "attribution")},
        "shards": len(stored["shards"]),
        "splits": splits,
    }


def _summary_of_testset(folder: Path) -> dict[str, Any]:
    testset = json.loads((folder / TESTSET).read_bytes())
    items = testset["items"]
    splits = []
    for condition in sorted({item["condition"] for item in items}):
        of_condition = [item for item in items if item["condition"] == condition]
        files = [
            folder / part / f"{item['id']}.flac"
            for part in ("noisy", "target")
            for item in of_condition
        ]
        splits.append(
            {
                "split": condition,
                "files": len(of_condition),
                "seconds": round(sum(item["seconds"] for item in of_condition), 3),
                "labels": len({item["speaker"] for item in of_condition}),
                "bytes": sum(file.stat().st_size for file in files if file.is_file()),
                "licences": [],
            }
        )
    return {
        "folder": str(folder),
        "what": f"frozen test set '{testset['name']}', seed {testset['seed']}, "
        f"{testset['sample_rate']} Hz, target {testset['target']}",
        **{key: testset[key] for key in ("name", "seed", "sample_rate", "target", "list_sha256")},
        "splits": splits,
    }


def _place_of_split(split: str) -> tuple[int, str]:
    """Sort key: train, valid, test, then the others by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _is_shards(folder: Path) -> bool:
    return (folder / INDEX).is_file() or any(folder.glob("*.tar"))


def _check_shards(folder: Path, seen: Seen, step: Callable[[], None]) -> _Shards:
    checked = _Shards(folder)
    stored, trouble = load(folder)
    if trouble:
        checked.complain(trouble)
    known = Known(stored)
    if stored is not None:
        checked.role, checked.head = stored["role"], _head(stored)
        if len(known) != stored["samples"]:
            checked.complain(f"{INDEX} names {stored['samples'] - len(known)} keys twice")
        attribution = stored.get("attribution")
        if attribution and not (folder / attribution).is_file():
            checked.complain(
                f"{attribution}, the licence texts that {INDEX} names, is missing",
                "copy it there from the source of the corpus",
            )
    listed = {shard["name"]: shard for shard in (stored or {"shards": []})["shards"]}
    on_disk = {path.name: path for path in sorted(folder.glob("*.tar"))}
    for name in listed.keys() - on_disk.keys():
        samples = sum(row["shard"] == name for row in known.values())
        checked.complain(
            f"{name} is in the index but not there, and {samples} samples with it",
            f"bring the file back, or drop its samples with `rased data verify {folder} --repair`",
        )
    for name, path in on_disk.items():
        if stored is not None and name not in listed:
            checked.complain(f"{name} is there but not in the index")
        _check_shard(path, listed.get(name), known, checked, seen)
        step()
    for key, row in known.items():
        if row["shard"] in on_disk and not seen.has(folder, key):
            checked.complain(f"sample {key} is in the index but not in {row['shard']}")
    for left in sorted(folder.glob("*" + PART)):
        checked.complain(
            f"{left.name} was left by a run that was cut off",
            "give the same `rased data pack` command again, or remove the file",
        )
    return checked


def _check_shard(
    path: Path,
    listed: Mapping[str, Any] | None,
    known: Mapping[str, Mapping[str, Any]],
    checked: _Shards,
    seen: Seen,
) -> None:
    before = len(checked.problems)
    whole = listed is not None and _is_whole(path, listed)

    def complain(key: str, reason: str) -> None:
        checked.complain(f"{f'sample {key} in ' if key else ''}{path.name} is damaged: {reason}")

    for stored in read_shard(path, damaged=complain):
        details, key = stored.details, stored.details["key"]
        if not seen.add(checked.folder, key):
            checked.complain(f"sample {key} occurs twice, the second time in {path.name}")
        checked.samples += 1
        checked.role = checked.role or details["role"]
        digest = hashlib.sha256(stored.audio).hexdigest()
        row = known.get(key)
        details, reason = _judge(stored, digest, None if whole else row, checked.head)
        reason = reason or _altered(stored.details, details)
        if reason:
            complain(key, reason)
        elif listed is not None:
            differs = _differs(stored, digest, path.name, row)
            if differs:
                checked.complain(f"the index is wrong about sample {key} in {path.name}: {differs}")
        split = details["split"]
        seen.remember(checked.folder, "label", details["label"], split)
        seen.remember(checked.folder, "recording", digest, split)
        for origin in _origins(details):
            seen.remember(checked.folder, "source recording", origin, split)
    if listed is not None and not whole and len(checked.problems) == before:
        checked.complain(
            f"{path.name} has another sha256 than the index says, though all its samples are good: "
            "where a note or source of one was damaged, the index does not tell"
        )


def _is_whole(path: Path, listed: Mapping[str, Any]) -> bool:
    """Tell whether a shard is byte for byte what the index was written for."""
    return listed["bytes"] == path.stat().st_size and listed["sha256"] == sha256(path)


def _head(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what an index says of all its samples."""
    return {} if stored is None else {name: stored[name] for name in ("role", "sample_rate")}


def _judge(
    stored: Stored, digest: str, row: Mapping[str, Any] | None, head: Mapping[str, Any]
) -> tuple[Details, str]:
    """Return the json of a sample as it should be, and why the sample cannot be used, "" where it is good.

    Args:
        stored: the sample.
        digest: of its audio.
        row: of the index where the shard is not the one that the index was written for: its json may be
            damaged as well, so where the audio is that of the row, the row tells what the json said.
        head: of that index.
    """
    details = stored.details
    if row is not None and row["sha256"] == digest:
        details = {**details, **head, **{name: row[name] for name in _REPEATED}}
        if "seconds" in details:
            details["seconds"] = round(details["frames"] / details["sample_rate"], 3)
    return details, _damage(stored._replace(details=details), digest, row)


def _altered(json_says: Details, should: Details) -> str:
    """Return in what the json of a good sample is damaged, "" for nothing."""
    differs = [name for name in should if json_says[name] != should[name]]
    if not differs:
        return ""
    return "its json says " + ", ".join(
        f"{name} {json_says[name]!r}, the index {should[name]!r}" for name in differs
    )


def _damage(stored: Stored, digest: str, row: Mapping[str, Any] | None) -> str:
    """Return why a sample cannot be used, "" where it is good."""
    if row is not None and row["sha256"] != digest:
        return "its bytes are not those that were packed (sha256)"
    if stored.codec == "pcm16":
        frames = len(stored.audio) / 2
    else:
        try:
            frames = len(soundfile.read(io.BytesIO(stored.audio), dtype="int16")[0])
        except soundfile.LibsndfileError as error:
            return f"it does not decode ({error.error_string.strip().rstrip('.')})"
    promised = stored.details["frames"]
    return "" if frames == promised else f"it has {frames:g} samples, not {promised}"


@dataclass
class _Look:
    """What a repair finds in a shard.

    Attributes:
        known: rows of the index that it is held against; none where it is what the index was written for.
        good: keys of good samples.
        mended: those among them whose json the index mends.
        lost: keys of the others, and why.
        kinds: of the good samples.
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
        details, reason = _judge(stored, digest, known.get(key), head)
        if key in look.good:
            reason = "its key occurs twice in the shard"
        if reason:
            look.lost.append((key, reason))
        else:
            look.good.add(key)
            look.kinds.add((details["role"], stored.codec, details["sample_rate"]))
            if _altered(stored.details, details):
                look.mended.append(key)
    return look


def _rewrite(
    path: Path,
    keep: Set[str],
    known: Mapping[str, Mapping[str, Any]],
    head: Mapping[str, Any],
) -> Path:
    """Write the samples to keep, the first of each key, under the shard's name; return the old file."""
    left = set(keep)
    writer = ShardWriter(path)
    try:
        for stored in read_shard(path, damaged=lambda key, reason: None):
            key, digest = stored.details["key"], hashlib.sha256(stored.audio).hexdigest()
            details, reason = _judge(stored, digest, known.get(key), head)
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
            _keep(path, aside)
            writer.finish()
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    finally:
        writer.abandon()
    return aside


def _keep(path: Path, aside: Path) -> None:
    """Give a file a second name; the first stays in place until another file takes it."""
    try:
        aside.hardlink_to(path)
    except OSError:  # a file system without such names
        shutil.copyfile(path, aside)


def _add(path: Path, rows: Rows) -> None:
    """Append a whole shard to the rows of an index."""
    for stored in read_shard(path):
        digest = hashlib.sha256(stored.audio).hexdigest()
        rows.add(stored.details, offset=stored.offset, size=len(stored.audio), digest=digest)
    rows.shards.append(Shard(path.name, path.stat().st_size, sha256(path)))


def _differs(stored: Stored, digest: str, shard: str, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "it is not there"
    truth = {
        **{name: stored.details[name] for name in ("split", "label", "licence", "frames")},
        "shard": shard,
        "offset": stored.offset,
        "bytes": len(stored.audio),
        "sha256": digest,
    }
    return ", ".join(
        f"{name} is {value!r}, not {row[name]!r}"
        for name, value in truth.items()
        if row[name] != value
    )


def _origins(details: Mapping[str, Any]) -> set[str]:
    """Return what names the recording that a sample was cut from: Freesound numbers and file names.

    >>> sorted(_origins({"source": "ESC-50 (freesound.org/s/215445)", "note": "fold 5"}))
    ['freesound 215445']
    >>> sorted(_origins({"source": "ufoai-sound", "note": "sound/thunder1.ogg, excerpt 0"}))
    ['ufoai-sound: sound/thunder1.ogg']
    """
    text = f"{details.get('source', '')} {details.get('note', '')}"
    numbers = re.findall(r"freesound\.org/(?:s|people/[^/\s]+/sounds)/(\d+)", text)
    note = str(details.get("note", ""))
    quoted = re.findall(rf'"([^"]+{_SUFFIX})"', note)
    files = quoted + re.findall(rf"[\w./-]+{_SUFFIX}", re.sub('"[^"]*"', " ", note))
    return {f"freesound {number}" for number in numbers} | {
        f"{details.get('source', '')}: {file}" for file in files
    }


def _overlaps(role: Role, folders: Sequence[Path], seen: Seen) -> Iterator[Problem]:
    """Compare what the splits hold over all folders of a role; types of noise may recur."""
    shared: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for kind, value, splits in seen.shared(folders):
        if role != "noise" or kind != "label":
            shared.setdefault((kind, splits), []).append(value)
    for (kind, together), names in shared.items():
        word = _LABEL[role] if kind == "label" else kind
        some = ", ".join(name[:60] for name in names[:5])
        yield Problem(
            folders[0],
            f"the {role} splits {' and '.join(together)} share {len(names)} {word}(s): {some}",
            f"put each {word} into one split (manifest column split) and pack again",
        )


def _check_testset(folder: Path) -> tuple[int, list[Problem]]:
    again = (
        "freeze it again with its seed and recipe, into an empty folder, or bring the files back"
    )
    problems: list[Problem] = []

    def complain(what: str) -> None:
        problems.append(Problem(folder, what, again))

    try:
        testset = json.loads((folder / TESTSET).read_bytes())
        items = testset["items"]
        if list_sha256(items) != testset["list_sha256"]:
            complain(f"{TESTSET} was changed: its list_sha256 is not that of its items")
        if testset["count"] != len(items):
            complain(f"{TESTSET} lists {len(items)} mixtures and says {testset['count']}")
        wanted = {
            f"{part}/{item['id']}.flac": (item[f"sha256_{part}"], item["seconds"])
            for item in items
            for part in ("noisy", "target")
        }
        sample_rate = testset["sample_rate"]
    except (ValueError, KeyError, TypeError) as error:
        complain(f"{TESTSET} is damaged ({type(error).__name__}: {error})")
        return 0, problems
    for name, (digest, seconds) in wanted.items():
        file = folder / name
        if not file.is_file():
            complain(f"{name} is missing")
        elif sha256(file) != digest:
            complain(f"{name} was changed: its sha256 is not the one in {TESTSET}")
        elif abs(soundfile.info(file).frames / sample_rate - seconds) > 1e-3:
            complain(f"{name} does not have the {seconds} s that {TESTSET} says")
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*.flac")}
    for name in sorted(there - wanted.keys()):
        complain(f"{name} is not in {TESTSET}")
    return len(items), problems

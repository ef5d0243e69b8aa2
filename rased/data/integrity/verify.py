"""Check shards, index and splits, sample by sample."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soundfile

from rased.data.columns import Names
from rased.data.corpora.listing import SPLITS
from rased.data.integrity.judge import altered, head_of, is_shards, is_whole, judge
from rased.data.integrity.known import SUMS, Known, Seen, load
from rased.data.schemas import Role, Shard
from rased.data.shards import remote
from rased.data.shards.address import address, is_remote
from rased.data.shards.index import INDEX, bundle
from rased.data.shards.tars import StoredSample, read_shard
from rased.data.testset import GIVEN, TESTSET, list_sha256
from rased.data.testset import read as read_frozen
from rased.disk import PART, sha256
from rased.errors import RasedError

_SUFFIX = r"\.(?:wav|ogg|flac|mp3|opus|aiff?|au)\b"
_LABEL: dict[Role, str] = {
    "speech": "speaker",
    "noise": "noise type",
    "rir": "room",
    "pairs": "speaker",
}
_COMPARED: tuple[tuple[Role, ...], ...] = (("speech", "pairs"), ("noise",), ("rir",))
"""Roles whose splits are compared together: a speaker of recorded pairs is a speaker."""


@dataclass(frozen=True)
class Problem:
    """One problem: what is wrong, where, and how to repair it."""

    folder: Path
    what: str
    repair: str

    def __str__(self) -> str:
        """Return the problem as a sentence."""
        return f"{self.folder}: {self.what}. Repair: {self.repair}."


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Attributes:
        folders: folders that were checked.
        samples: samples that were decoded and compared.
        problems: the problems found.
    """

    folders: tuple[Path, ...]
    samples: int
    problems: tuple[Problem, ...]


@dataclass
class _Shards:
    """The content of one folder of shards, according to its tar files."""

    folder: Path
    role: Role | None = None
    head: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 0
    problems: list[Problem] = field(default_factory=list)

    def complain(self, what: str, repair: str = "") -> None:
        """Record a problem; most can be repaired by --repair."""
        repair = repair or f"`rased data verify {self.folder} --repair`"
        self.problems.append(Problem(self.folder, what, repair))


def find(name: str | Path) -> list[Path]:
    """Return the folders of shards and frozen test sets in a folder, or directly below it.

    Args:
        name: a folder, or `bundle`.

    Raises:
        RasedError: no such folder, or nothing in it.
    """
    base = bundle() if str(name) == "bundle" else Path(name)
    if is_remote(name):
        raise RasedError(
            f"'{address(str(name))}' is not on this machine: verify shards on the machine that stores them."
        )
    if not base.is_dir():
        raise RasedError(f"'{name}' is not a folder; give a folder of shards, or 'bundle'.")
    candidates = [base, *sorted(path for path in base.iterdir() if path.is_dir())]
    found = [path for path in candidates if is_shards(path) or (path / TESTSET).is_file()]
    if not found:
        raise RasedError(
            f"'{name}' contains no shards ({INDEX}, *.tar) and no test set ({TESTSET}); write shards with "
            "`rased data pack`."
        )
    return found


def verify(
    folders: Sequence[Path], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Checked:
    """Check shards and frozen test sets completely: hash every byte, decode every sample.

    For shards: the index against the tar files, hashes, lengths; and over all given folders of one
    role (speech and recorded pairs count as one), that splits share no recordings (by hash and by source) and, except
    for noise, whose types may recur, no labels. For test sets: hashes, lengths, missing and additional files.

    Args:
        folders: folders from `find`.
        progress: called with (files done, total files); a test set counts as one file.
    """
    total = sum(len([*path.glob("*.tar")]) + (path / TESTSET).is_file() for path in folders)
    steps = count(1)

    def step() -> None:
        progress(next(steps), total)

    seen = Seen()
    shards = [_check_shards(path, seen, step) for path in folders if is_shards(path)]
    problems = [problem for each in shards for problem in each.problems]
    for roles in _COMPARED:
        of_roles = [each for each in shards if each.role in roles]
        given = [role for role in roles if any(each.role == role for each in of_roles)]
        problems += _overlaps(given, [each.folder for each in of_roles], seen)
    samples = sum(each.samples for each in shards)
    for path in folders:
        if (path / TESTSET).is_file():
            mixtures, found = _check_testset(path)
            samples += mixtures
            problems += found
            step()
    return Checked(tuple(folders), samples, tuple(problems))


def summary(name: str | Path) -> list[dict[str, Any]]:
    """Return the content of the folders of shards and test sets below `name` (or a URL), from their indices alone.

    Raises:
        RasedError: nothing there, or an unusable index.
    """
    found = []
    for folder in remote.find(str(name)) if is_remote(name) else find(name):
        if is_shards(folder):
            found.append(_summary_of_shards(folder))
        if (folder / TESTSET).is_file():
            found.append(_summary_of_testset(folder))
    return found


def _summary_of_shards(folder: Path) -> dict[str, Any]:
    stored, trouble = load(folder, SUMS)
    if stored is None:
        raise RasedError(
            f"{folder}: {trouble}; repair it with `rased data verify {folder} --repair`."
        )
    columns, head, splits = stored.columns, stored.head, []
    for split in sorted(set(Names(np.unique(columns["split"]))), key=_place_of_split):
        of = columns["split"] == split.encode()
        frames, size = (int(columns[name][of].sum(dtype=np.int64)) for name in ("frames", "bytes"))
        splits.append(
            {
                "split": split,
                "files": int(of.sum()),
                "seconds": round(frames / head.sample_rate, 3),
                "labels": len(np.unique(columns["label"][of])),
                "bytes": size,
                "licences": sorted(
                    {head.licences[code] for code in np.unique(columns["licence"][of])}
                ),
            }
        )
    return {
        "folder": str(remote.origin(folder) or folder),
        "what": f"{head.role}, {head.codec}, {head.sample_rate} Hz, {len(head.shards)} shards",
        "role": head.role,
        "codec": head.codec,
        "sample_rate": head.sample_rate,
        "attribution": head.attribution,
        "shards": len(head.shards),
        "splits": splits,
    }


def _summary_of_testset(folder: Path) -> dict[str, Any]:
    frozen, splits = read_frozen(folder), []
    for condition in sorted({item.condition or "" for item in frozen.items}):
        of_condition = [item for item in frozen.items if (item.condition or "") == condition]
        files = [folder / name for item in of_condition for name in item.files]
        splits.append(
            {
                "split": condition,
                "files": len(of_condition),
                "seconds": round(sum(item.seconds for item in of_condition), 3),
                "labels": len({item.speaker for item in of_condition if item.speaker}),
                "bytes": sum(file.stat().st_size for file in files if file.is_file()),
                "licences": [],
            }
        )
    return {
        "folder": str(folder),
        "what": f"frozen test set '{frozen.name}', seed {frozen.seed}, "
        f"{frozen.sample_rate} Hz, target {frozen.target}",
        "name": frozen.name,
        "seed": frozen.seed,
        "sample_rate": frozen.sample_rate,
        "target": frozen.target,
        "list_sha256": frozen.list_sha256,
        "splits": splits,
    }


def _place_of_split(split: str) -> tuple[int, str]:
    """Return a sort key: train, valid, test, then other splits by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _check_shards(folder: Path, seen: Seen, step: Callable[[], None]) -> _Shards:
    checked = _Shards(folder)
    stored, trouble = load(folder)
    if trouble:
        checked.complain(trouble)
    # The index by itself.
    known = Known(stored)
    if stored is not None:
        head = stored.head
        checked.role, checked.head = head.role, head_of(stored)
        if len(known) != head.samples:
            checked.complain(f"{INDEX} has {head.samples - len(known)} duplicate keys")
        attribution = head.attribution
        if attribution and not (folder / attribution).is_file():
            checked.complain(
                f"{attribution}, the licence texts that {INDEX} names, is missing",
                "copy it there from the source of the corpus",
            )
    # The index and the files in the folder.
    listed = {} if stored is None else {shard.name: shard for shard in stored.head.shards}
    on_disk = {path.name: path for path in sorted(folder.glob("*.tar"))}
    for name in listed.keys() - on_disk.keys():
        samples = sum(row["shard"] == name for row in known.values())
        checked.complain(
            f"{name} is in the index, but missing from the folder, with {samples} samples",
            f"restore the file, or drop its samples with `rased data verify {folder} --repair`",
        )
    for name, path in on_disk.items():
        if stored is not None and name not in listed:
            checked.complain(f"{name} is in the folder, but not in the index")
        _check_shard(path, listed.get(name), known, checked, seen)
        step()
    # Only now, when all shards have been read.
    for key, row in known.items():
        if row["shard"] in on_disk and not seen.has(folder, key):
            checked.complain(f"sample {key} is in the index, but not in {row['shard']}")
    for left in sorted(folder.glob("*" + PART)):
        checked.complain(
            f"{left.name} was left by an interrupted run",
            "run the same `rased data pack` command again, or remove the file",
        )
    return checked


def _check_shard(
    path: Path,
    listed: Shard | None,
    known: Mapping[str, Mapping[str, Any]],
    checked: _Shards,
    seen: Seen,
) -> None:
    before = len(checked.problems)
    whole = listed is not None and is_whole(path, listed)

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
        # A shard that is byte for byte the packed one needs no row to be judged by: its JSON is right.
        details, reason = judge(stored, digest, None if whole else row, checked.head)
        reason = reason or altered(stored.details, details)
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
    # No sample explains the different hash.
    if listed is not None and not whole and len(checked.problems) == before:
        checked.complain(
            f"{path.name} has another sha256 than the index says, although all its samples are good: "
            "a note or source of a sample may be damaged, which the index cannot show"
        )


def _differs(stored: StoredSample, digest: str, shard: str, row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "it is missing"
    truth = {
        **{name: stored.details[name] for name in ("split", "label", "licence", "frames")},
        "shard": shard,
        "offset": stored.offset,
        "bytes": len(stored.audio),
        "channels": stored.details.get("channels", 1),
        "sha256": digest,
    }
    return ", ".join(
        f"{name} is {value!r}, not {row[name]!r}"
        for name, value in truth.items()
        if row[name] != value
    )


def _origins(details: Mapping[str, Any]) -> set[str]:
    """Return what identifies the recording that a sample was cut from: Freesound numbers and file names.

    >>> sorted(_origins({"source": "ESC-50 (freesound.org/s/215445)", "note": "fold 5"}))
    ['freesound 215445']
    >>> sorted(_origins({"source": "ufoai-sound", "note": "sound/thunder1.ogg, excerpt 0"}))
    ['ufoai-sound: sound/thunder1.ogg']
    """
    text = f"{details.get('source', '')} {details.get('note', '')}"
    numbers = re.findall(r"freesound\.org/(?:s|people/[^/\s]+/sounds)/(\d+)", text)
    note = str(details.get("note", ""))
    quoted = re.findall(rf'"([^"]+{_SUFFIX})"', note)
    # Quoted names may contain spaces; the rest of the note is searched for plain ones.
    files = quoted + re.findall(rf"[\w./-]+{_SUFFIX}", re.sub('"[^"]*"', " ", note))
    return {f"freesound {number}" for number in numbers} | {
        f"{details.get('source', '')}: {file}" for file in files
    }


def _overlaps(roles: Sequence[Role], folders: Sequence[Path], seen: Seen) -> Iterator[Problem]:
    """Yield what splits have in common over all folders of these roles; types of noise may recur."""
    shared: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for kind, value, splits in seen.shared(folders):
        if "noise" not in roles or kind != "label":
            shared.setdefault((kind, splits), []).append(value)
    for (kind, together), names in shared.items():
        word = _LABEL[roles[0]] if kind == "label" else kind
        some = ", ".join(name[:60] for name in names[:5])
        yield Problem(
            folders[0],
            f"the {' and '.join(roles)} splits {' and '.join(together)} share {len(names)} {word}(s): {some}",
            f"put each {word} into one split (manifest column split) and pack again",
        )


def _check_testset(folder: Path) -> tuple[int, list[Problem]]:
    again = "freeze it again with its seed and recipe into an empty folder, or restore the files"
    problems: list[Problem] = []

    def complain(what: str) -> None:
        problems.append(Problem(folder, what, again))

    try:
        frozen = read_frozen(folder)
    except RasedError as error:
        complain(str(error).replace(f"'{folder / TESTSET}'", TESTSET).rstrip(". "))
        return 0, problems
    if list_sha256(map(msgspec.structs.asdict, frozen.items)) != frozen.list_sha256:
        complain(f"{TESTSET} was changed: its list_sha256 does not match its items")
    if frozen.count != len(frozen.items):
        complain(f"{TESTSET} lists {len(frozen.items)} mixtures, but says {frozen.count}")
    wanted = {
        name: (digest, item.seconds) for item in frozen.items for name, digest in item.files.items()
    }
    for name, (digest, seconds) in wanted.items():
        file = folder / name
        if not file.is_file():
            complain(f"{name} is missing")
        elif sha256(file) != digest:
            complain(f"{name} was changed: its sha256 is not that in {TESTSET}")
        elif name.startswith(f"{GIVEN}/"):
            continue  # conditions have lengths of their own
        # `seconds` is rounded.
        elif abs(_length(file, frozen.sample_rate) - seconds) > 1e-3:
            complain(f"{name} does not have the {seconds} s that {TESTSET} says")
    places = ("*/*.flac", f"{GIVEN}/*/*.flac")
    found = (path for place in places for path in folder.glob(place))
    there = {path.relative_to(folder).as_posix() for path in found}
    for name in sorted(there - wanted.keys()):
        complain(f"{name} is not in {TESTSET}")
    return len(frozen.items), problems


def _length(file: Path, sample_rate: int) -> float:
    """Return the duration in seconds according to the header of a file; -1 if it is not audio of this rate."""
    try:
        info = soundfile.info(file)
    except soundfile.LibsndfileError:
        return -1.0
    return info.frames / sample_rate if info.samplerate == sample_rate else -1.0

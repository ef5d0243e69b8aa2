"""Read test sets for an evaluation: pairs of files, facts about each utterance, and a fingerprint."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float32
from torch import Tensor

import rased
from rased import audio, documents
from rased.conditions import ARRAY
from rased.data.corpora.listing import key_of, split_and_label
from rased.data.schemas import Role
from rased.data.testset import ENROLMENT, GIVEN, TESTSET, list_sha256
from rased.data.testset import read as read_frozen
from rased.disk import sha256
from rased.errors import RasedError, shown
from rased.models.base import Enhancer
from rased.names import component, plain

BUNDLE = Path(rased.__file__).parent / "assets" / "bundle" / "frozen"
"""Name of the test set that comes with the package."""

KNOWN = ("condition", "snr_db", "speaker", "noise_type", "room", "t60", "drr_db")
"""Facts that a result stores for each utterance, if the test set has them."""

_NUMBERS = {"snr_db", "t60", "drr_db"}
_LABELS: dict[Role, str] = {"speech": "speaker", "noise": "noise_type", "rir": "room"}
_WITHOUT: dict[Role, str] = {"noise": "reverb", "rir": "noise"}
"""Condition of mixtures without a recording of a role."""
_SHOWN = 3


@dataclass(frozen=True)
class Item:
    """One utterance.

    Attributes:
        id: its name in every result.
        noisy: the file to enhance.
        target: the desired output; None if unknown.
        facts: columns of KNOWN that the test set has.
        text: the transcript; None if unknown.
        conditions: files with additional inputs of a model (`Enhancer.conditions`), by name.
    """

    id: str
    noisy: Path
    target: Path | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    conditions: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationSet:
    """A test set on disk.

    Attributes:
        name: name in results.
        folder: folder of the test set.
        sample_rate: sample rate of its files in Hz; if they differ, of the first one.
        sample_rates: all sample rates of its files, sorted.
        target: description of the target.
        items: utterances, sorted by id.
        list_sha256: hash of ids and files; equal for copies of a test set.
        sources: recordings in the mixtures, as far as known: (role, keys | labels) -> names,
            in the form of a data manifest.
        contents: role -> content hash of a recording, as in a data manifest (see `Corpus.manifest`) -> its key.
        untold: those of `sources` that are missing for some utterance.
    """

    name: str
    folder: Path
    sample_rate: int
    sample_rates: tuple[int, ...]
    target: str
    items: tuple[Item, ...]
    list_sha256: str
    sources: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    contents: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    untold: frozenset[tuple[str, str]] = frozenset()


def locate(name: str) -> Path:
    """Return the folder of a test set given on the command line: `bundle`, or the folder itself."""
    return BUNDLE if name == "bundle" else Path(name)


def read_testset(folder: str | Path) -> EvaluationSet:
    """Read a frozen test set (testset.json), or any folder with noisy/ and target/ (or clean/).

    In a plain folder, files with equal names form a pair. manifest.csv may add facts: `id`, any of KNOWN, and
    `text`, the transcript. Without target/, only metrics that need no reference have values. conditions/NAME/ holds
    one file per utterance for the condition NAME: audio, such as an enrolment, or .npy.

    Raises:
        RasedError: no such folder, no pairs, or a file is missing or differs from the frozen one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RasedError(
            f"the test set '{folder}' does not exist: give a folder with noisy/ and target/, or `bundle`."
        )
    if (folder / TESTSET).is_file():
        return _frozen(folder)
    return _plain(folder)


def read_audio(path: Path, *, sample_rate: int) -> Float32[np.ndarray, " time"]:
    """Read one channel at `sample_rate`; resample with soxr if the file has another rate.

    Raises:
        RasedError: the file cannot be read, or has more than one channel.
    """
    samples, _ = audio.read(path, sample_rate=sample_rate)
    if samples.shape[0] != 1:
        raise RasedError(f"'{path}' has {samples.shape[0]} channels; an evaluation needs one.")
    return samples[0]


def read_noisy(
    path: Path, *, sample_rate: int, channels: int = 1
) -> Float32[np.ndarray, "*channel time"]:
    """Read the first channel of a noisy file, or (channel, time) for an enhancer of several channels; see `read_audio`.

    Raises:
        RasedError: the file cannot be read, or has fewer channels.
    """
    samples, _ = audio.read(path, sample_rate=sample_rate)
    if len(samples) < channels:
        raise RasedError(
            f"'{path}' has {len(samples)} channels, but the enhancer needs {channels}."
        )
    return samples[0] if channels == 1 else samples[:channels]


def given(enhancer: Enhancer, item: Item) -> dict[str, Tensor]:
    """Return the conditions that an enhancer declares for an utterance, one row each.

    Raises:
        RasedError: the test set lacks a condition, or its file cannot be read.
    """
    for name in enhancer.conditions:
        if name not in item.conditions:
            raise RasedError(
                f"{type(enhancer).__name__} needs the condition '{name}', but the test set of '{item.noisy}' has no "
                f"{GIVEN}/{name}/ with a file for each utterance"
                + (
                    ": create a set that has them with rased data freeze --enrolment 3."
                    if name == ENROLMENT
                    else "."
                )
            )
    return enhancer.given({name: item.conditions[name] for name in enhancer.conditions})


def _frozen(folder: Path) -> EvaluationSet:
    frozen = read_frozen(folder)
    rows = [msgspec.structs.asdict(item) for item in frozen.items]
    # The list is hashed apart from the audio: swapping two targets changes no file, but the list.
    if list_sha256(rows) != frozen.list_sha256:
        raise RasedError(
            f"the list in '{folder / TESTSET}' was changed after freezing: its SHA-256 differs."
        )
    items = []
    for mixture, row in zip(frozen.items, rows, strict=True):
        for name, digest in mixture.files.items():
            file = folder / name
            if not file.is_file():
                raise RasedError(f"{name} is missing from the frozen test set '{folder}'.")
            if sha256(file) != digest:
                raise RasedError(
                    f"'{file}' was changed after freezing (its SHA-256 differs from "
                    f"{TESTSET}): get the test set again."
                )
        noisy, target, *given = (folder / name for name in mixture.files)
        conditions = dict(zip(mixture.given, given, strict=True))
        items.append(Item(mixture.id, noisy, target, _facts(row), mixture.text or None, conditions))
    early = f", first {frozen.early_ms:g} ms" if frozen.target == "early" else ""
    return EvaluationSet(
        name=frozen.name,
        folder=folder,
        sample_rate=frozen.sample_rate,
        sample_rates=_rates(items),
        target=f"{frozen.target}{early}",
        items=tuple(items),
        list_sha256=frozen.list_sha256,
        sources=_sources(rows),
        contents=_contents(frozen.contents or {}),
        untold=_untold(rows),
    )


def _plain(folder: Path) -> EvaluationSet:
    noisy = audio_files(folder / "noisy")
    if not noisy:
        raise RasedError(
            f"'{folder}' is not a test set: it has neither {TESTSET} nor noisy/ with audio files."
        )
    references = next((p for p in (folder / "target", folder / "clean") if p.is_dir()), None)
    target = {} if references is None else audio_files(references)
    if references is not None and noisy.keys() != target.keys():
        alone = sorted(noisy.keys() ^ target.keys())
        raise RasedError(
            f"noisy/ and {references.name}/ of '{folder}' contain different names: {_some(alone)} "
            "in only one of them."
        )
    listed = [row for row in _manifest(folder / "manifest.csv") if row["id"] in noisy]
    facts = {row["id"]: _facts(row) for row in listed}
    said = {row["id"]: row["text"] for row in listed if row.get("text")}
    conditions = _conditions(folder, noisy)
    items, rows = [], []
    for name, file in noisy.items():
        component(name, what=f"the name of '{file}'")
        given = {condition: files[name] for condition, files in conditions.items()}
        item = Item(name, file, target.get(name), facts.get(name, {}), said.get(name), given)
        items.append(item)
        # Targets are part of the fingerprint: scores against other targets are not comparable.
        digest = "" if item.target is None else sha256(item.target)
        row: dict[str, Any] = {"id": name, "sha256_noisy": sha256(file), "sha256_target": digest}
        rows.append(row | {"sha256_conditions": {one: sha256(given[one]) for one in given}})
    title = component(folder.resolve().name, what=f"the name of the folder '{folder}'")
    return EvaluationSet(
        name=title,
        folder=folder,
        sample_rate=audio.inspect(items[0].noisy).sample_rate,
        sample_rates=_rates(items),
        target="none" if references is None else f"{references.name}/",
        items=tuple(items),
        list_sha256=list_sha256(rows),
        sources=_sources(listed),
        # An utterance without a line in the manifest says nothing of its recordings.
        untold=_untold([*listed, *({"id": name} for name in noisy.keys() - facts.keys())]),
    )


def _rates(items: Iterable[Item]) -> tuple[int, ...]:
    """Return the sample rates of all files, from their headers."""
    files = [file for item in items for file in (item.noisy, item.target) if file is not None]
    return tuple(sorted({audio.inspect(file).sample_rate for file in files}))


def _conditions(folder: Path, noisy: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Return the files below conditions/, by condition and id."""
    found = {}
    for place in sorted(path for path in (folder / GIVEN).glob("[!.]*") if path.is_dir()):
        files = audio_files(place, others=(ARRAY,))
        plain(place.name, what=f"the name of '{place}'")
        if files.keys() != noisy.keys():
            alone = sorted(noisy.keys() ^ files.keys())
            raise RasedError(
                f"noisy/ and {GIVEN}/{place.name}/ of '{folder}' contain different names: {_some(alone)} in only "
                "one of them."
            )
        found[place.name] = files
    return found


def audio_files(folder: Path, others: tuple[str, ...] = ()) -> dict[str, Path]:
    """Return the audio files directly in a folder, by name without suffix, sorted; hidden files are ignored.

    Args:
        folder: the folder.
        others: additional file suffixes to include.

    Raises:
        RasedError: two files have the same name.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        counts = audio.looks_like_audio(path) or path.suffix.lower() in others
        if not counts or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in files:
            raise RasedError(
                f"'{folder}' contains both '{path.name}' and '{files[path.stem].name}': keep one of them."
            )
        files[path.stem] = path
    return files


def _manifest(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    repair = "Its first line must name the columns (id, and facts of each file); correct it, or remove it."
    rows = list(documents.rows(path, needed=["id"], repair=repair))
    counts = Counter(row["id"] for row in rows)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise RasedError(f"'{path}' has two lines for {shown(twice)}: keep one of them.")
    return rows


def _sources(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], frozenset[str]]:
    """Return keys and labels of all recordings; a path is converted to the key that packing would give it."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        for role in _LABELS:
            for column, names in zip(("keys", "labels"), _made_of(row, role), strict=True):
                found.setdefault((role, column), set()).update(names)
        # An enrolment is speech of the test set, too.
        enrolment = {"speech": row.get(ENROLMENT)}
        found["speech", "keys"].update(_made_of(enrolment, "speech")[0])
    return {kind: frozenset(names) for kind, names in found.items()}


def _made_of(row: Mapping[str, Any], role: Role) -> tuple[set[str], set[str]]:
    """Return keys and labels of one utterance's recordings; several are written as "A + B"."""
    given = str(row.get(role) or "").strip()
    # Keys may contain a plus sign themselves, so paths are split only where the next path of the role begins.
    names = re.split(rf"\s*\+\s*(?={role}/)" if "/" in given else r"\s*\+\s*", given)
    paths = [name for name in names if "/" in name]
    # A word without a slash is a key already.
    keys = {key_of(path, role) for path in paths} | {n for n in names if n and "/" not in n}
    labels = {split_and_label(path, "", role, "")[1] for path in paths}
    label = row.get(_LABELS[role])
    return keys, labels | ({str(label)} if label else set())


def _untold(rows: Iterable[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """Return what is missing for some utterance, unless its condition says that there is no such recording."""
    return frozenset(
        (role, column)
        for row in rows
        for role in _LABELS
        if (row.get("condition") or "") != _WITHOUT.get(role)
        for column, names in zip(("keys", "labels"), _made_of(row, role), strict=True)
        if not names
    )


def _contents(by_role: Mapping[Role, Mapping[str, Sequence[str]]]) -> dict[str, dict[str, str]]:
    """Invert key -> content hash, the form of a frozen set."""
    return {
        role: {digits: key for key, contents in of_role.items() for digits in contents}
        for role, of_role in by_role.items()
    }


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for column in KNOWN:
        value = row.get(column)
        if value in (None, ""):
            continue
        facts[column] = str(value)
        if column in _NUMBERS:
            try:
                facts[column] = float(value)
            except ValueError:
                facts[column] = math.nan  # refused below, like nan and inf
            if not math.isfinite(facts[column]):
                raise RasedError(
                    f"the column '{column}' of {shown(row['id'])} contains {shown(value)}; it must be a number, or "
                    "empty if unknown."
                )
    return facts


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest + (" is" if len(names) == 1 else " are")

"""Record what a system was trained on, and whether that overlaps with the test set."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rased.classes import STRANGERS
from rased.config import load_yaml, portable
from rased.data.manifest import read, splits, unknown
from rased.data.schemas import Role
from rased.errors import RasedError
from rased.evaluation.scoring.systems import System
from rased.evaluation.stated import read_stated
from rased.evaluation.testset import EvaluationSet
from rased.tensors import read_checkpoint
from rased.zoo.card import MANIFEST, read_card
from rased.zoo.loading import check_manifest, verified_files
from rased.zoo.registry import find

_SHOWN = 3
_PARTS = ("data", "model", "trainer")
_UNKNOWN = "what it was trained on is not known: it may have seen this test"
_STATED = "what it was trained on is stated and cannot be checked: it may have seen this test"
_KINDS: dict[tuple[Role, str], str] = {
    ("speech", "keys"): "utterance",
    ("speech", "labels"): "speaker",
    ("noise", "keys"): "noise recording",
    ("rir", "keys"): "impulse response",
    ("rir", "labels"): "room",
}
"""What training and test data must not share; types of noise may be shared."""


def training_of(system: System, testset: EvaluationSet) -> dict[str, Any] | None:
    """Return what a result stores about the training of a system; None if nothing was trained.

    Returns:
        manifest_sha256 (None: the training data are unknown), overlap (sentences; empty: no overlap was
        found), checked (kind of recording -> what was compared, "contents" or "names"), unchecked
        (sentences about what could not be checked), recipe_sha256 (of the configuration without seeds and
        names: equal for all seeds of one configuration), seed, optimised (names of the metrics that are in its
        loss), config (enhancer, data, model, trainer, as far as known).

    Raises:
        RasedError: the manifest is not the one that the weights refer to.
    """
    if system.kind == "files":
        stated = read_stated(Path(system.source)) or {}
        late = "" if "buffering_ms" in stated else ", and how late,"
        trained = _STATED if "training_data" in stated else _UNKNOWN
        return {
            **_no_manifest(trained, f"whether it is causal{late} is not known"),
            **_recipe({}),
            "config": {},
        }
    if system.kind == "run":
        folder, enhancer = Path(system.source), {}
        manifest, bound = _of_run(folder)
    elif system.kind == "zoo":
        folder = find(system.source)
        card = read_card(folder)
        enhancer = {"enhancer": card["enhancer"]}
        files = verified_files(folder, card)
        manifest, bound = files.get(MANIFEST), check_manifest(folder, card, files)
    else:
        return None
    config = _config(folder)
    parts = {name: config[name] for name in _PARTS if name in config}
    checks = _no_manifest(_UNKNOWN) if manifest is None else _checks(manifest, testset)
    if manifest is not None and not bound:
        checks["unchecked"].append("its weights do not name their data: manifest.json is believed")
    return {**checks, **_recipe(config), "config": {**enhancer, **portable(parts)}}


def overlap(manifest: Mapping[str, Any], testset: EvaluationSet) -> list[str]:
    """Return what training or validation data share with a test set, one sentence per kind; empty without overlap.

    Recordings are identified by a hash of their contents, if both sides have one, and by their keys.

    Args:
        manifest: split -> role -> {keys, contents, labels}, as `MixtureDataModule.manifest` returns it.
        testset: the test set; a plain folder lists its sources in manifest.csv (`speech`, `speaker`, `noise`,
            `rir`, `room`), or does not list them.
    """
    found = []
    for split, roles in splits(manifest).items():
        for (role, column), kind in _KINDS.items():
            shared: set[str] = set()
            for part in _parts(roles, role):
                named = testset.sources.get((role, column), frozenset())
                shared |= set(part.get(column, ())) & named
                if column == "keys":
                    # Keys follow from file names, which a copy of a corpus may change; contents do not.
                    heard = testset.contents.get(role, {})
                    digits = heard.keys() & set(part.get("contents", ()))
                    shared |= {heard[each] for each in digits}
            if shared:
                some = ", ".join(sorted(shared)[:_SHOWN]) + (" ..." if len(shared) > _SHOWN else "")
                plural = "" if len(shared) == 1 else "s"
                found.append(
                    f"its {split} data hold {len(shared)} {kind}{plural} of the test set ({some})"
                )
    return found


def _parts(roles: Mapping[str, Any], role: Role) -> list[Mapping[str, Any]]:
    """Return what a split has of a role; the clean signals of recorded pairs are speech."""
    names = (role, "pairs") if role == "speech" else (role,)
    return [roles[name] for name in names if name in roles]


def _no_manifest(*sentences: str) -> dict[str, Any]:
    return {"manifest_sha256": None, "overlap": [], "checked": {}, "unchecked": list(sentences)}


def _of_run(folder: Path) -> tuple[bytes | None, bool]:
    """Return the manifest of a run's best checkpoint, and whether the checkpoint refers to it."""
    # Imported here, because these modules load PyTorch Lightning.
    from rased.training.base import MANIFEST_SHA256
    from rased.training.history import manifest_of

    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path, mmap=True)  # mapped: only the entries that are used are read
    return manifest_of(folder, checkpoint), MANIFEST_SHA256 in checkpoint


def _checks(content: bytes, testset: EvaluationSet) -> dict[str, Any]:
    """Compare a manifest with a test set; return the overlap and what could not be checked."""
    manifest = read(content, of=Path(MANIFEST))
    told = {kind: name for kind, name in _KINDS.items() if kind not in testset.untold}
    missing = [f"{name}s" for kind, name in _KINDS.items() if kind not in told]
    unchecked = []
    if not told:
        unchecked = ["overlap not checked: the test set does not say what it is made of"]
    elif missing:
        unchecked = [
            f"overlap not checked for {', '.join(missing)}: the test set does not name all of them"
        ]
    unchecked += [
        f"it started from '{name}', and what that was trained on is not known: it may have seen this test"
        for name in unknown(manifest)
    ]
    return {
        "manifest_sha256": hashlib.sha256(content).hexdigest(),
        "overlap": overlap(manifest, testset),
        "checked": {name: _compared(manifest, testset, *kind) for kind, name in told.items()},
        "unchecked": unchecked,
    }


def _compared(
    manifest: Mapping[str, Any], testset: EvaluationSet, role: Role, column: str
) -> Literal["contents", "names"]:
    """Return how recordings are identified."""
    every = splits(manifest).values()
    parts = [part for roles in every for part in _parts(roles, role)]
    # The content of a pair is that of both of its channels.
    ours = not (role == "speech" and any("pairs" in roles for roles in every))
    ours &= all(len(part.get("contents", ())) >= part["recordings"] for part in parts)
    theirs = testset.sources.get((role, "keys"), frozenset())
    heard = set(testset.contents.get(role, {}).values())
    return "contents" if column == "keys" and ours and theirs <= heard else "names"


def _config(folder: Path) -> dict[str, Any]:
    for name in ("config.yaml", "training.yaml"):
        if (folder / name).is_file():
            try:
                return dict(load_yaml(folder / name, own=False))
            except RasedError:
                return {}
    return {}


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hash of a configuration without its seeds, and the seeds."""
    if not config:
        return {"recipe_sha256": None, "seed": None, "optimised": []}
    plain = {name: config[name] for name in _PARTS if name in config}
    run = _mapping(config.get("run"))
    plain |= {name: run[name] for name in ("start_from", "freeze") if run.get(name)}
    # A deep copy as plain JSON types, so that tuples and lists hash alike.
    seedless = json.loads(json.dumps(plain))
    data = _mapping(_mapping(seedless.get("data")).get("init_args"))
    seeds = (config.get("seed_everything"), data.pop("seed", None))  # popped: no part of the hash
    digest = hashlib.sha256(json.dumps(seedless, sort_keys=True).encode()).hexdigest()
    losses = class_paths(_mapping(_mapping(plain.get("model")).get("init_args")).get("loss"))
    optimised = sorted({metric for loss in losses for metric in _optimised(loss)})
    return {"recipe_sha256": digest, "seed": "/".join(map(str, seeds)), "optimised": optimised}


def _optimised(path: str) -> tuple[str, ...]:
    """Return the metrics that a loss class declares; none if it is not a loss of this installation."""
    try:
        found = STRANGERS.find(path)
    except RasedError:
        return ()
    return tuple(getattr(found, "optimises", ()))


def _mapping(value: Any) -> dict[str, Any]:
    """Return a part of a configuration from outside; an empty mapping if it is not a mapping."""
    return value if isinstance(value, dict) else {}


def class_paths(spec: Any) -> set[str]:
    """Return all class paths in a part of a configuration."""
    if isinstance(spec, Mapping):
        own = {str(spec["class_path"])} if "class_path" in spec else set()
        return own.union(*map(class_paths, spec.values()))
    if isinstance(spec, list | tuple):
        return set().union(*map(class_paths, spec))
    return set()

"""What a system was trained on, and whether the test set was part of it."""

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rased.config import load_yaml
from rased.errors import RasedError
from rased.evaluation.systems import System
from rased.evaluation.testset import EvaluationSet
from rased.zoo.card import MANIFEST
from rased.zoo.registry import find

_SHOWN = 3
_KINDS = {
    ("speech", "keys"): "utterance",
    ("speech", "labels"): "speaker",
    ("noise", "keys"): "noise recording",
    ("rir", "keys"): "impulse response",
    ("rir", "labels"): "room",
}
"""What must not be in training and test; types of noise may."""


def training_of(system: System, testset: EvaluationSet) -> dict[str, Any] | None:
    """What a result keeps of the training of a run or a zoo entry; None for everything else.

    Returns:
        manifest_sha256 (None: nobody knows what it was trained on), overlap (sentences; empty: none),
        recipe_sha256 (of the configuration without seeds and names: equal for the seeds of one
        recipe), seed, optimised (names of the metrics that are in its loss).
    """
    if system.kind not in ("run", "zoo"):
        return None
    folder = Path(system.source) if system.kind == "run" else find(system.source)
    config = _config(folder)
    facts: dict[str, Any] = {"manifest_sha256": None, "overlap": [], **_recipe(config)}
    manifest = folder / MANIFEST
    if manifest.is_file():
        content = manifest.read_bytes()
        facts["manifest_sha256"] = hashlib.sha256(content).hexdigest()
        facts["overlap"] = overlap(json.loads(content), testset)
    return facts


def overlap(manifest: Mapping[str, Any], testset: EvaluationSet) -> list[str]:
    """What training or validation data share with a test set, a sentence for each kind; nothing where all is well.

    Args:
        manifest: split -> role -> {keys, labels}, as `MixtureDataModule.manifest` gives it.
        testset: what is tested on; a plain folder says in manifest.csv (`speech`, `speaker`, `noise`,
            `rir`, `room`) what it was made of, or nothing.
    """
    found = []
    for split, roles in manifest.items():
        for (role, column), kind in _KINDS.items():
            trained = set(roles.get(role, {}).get(column, ()))
            shared = sorted(trained & testset.sources.get((role, column), frozenset()))
            if shared:
                some = ", ".join(shared[:_SHOWN]) + (" ..." if len(shared) > _SHOWN else "")
                plural = "" if len(shared) == 1 else "s"
                found.append(
                    f"its {split} data hold {len(shared)} {kind}{plural} of the test set ({some})"
                )
    return found


def _config(folder: Path) -> dict[str, Any]:
    for name in ("config.yaml", "training.yaml"):
        if (folder / name).is_file():
            try:
                return dict(load_yaml(folder / name))
            except RasedError:
                return {}
    return {}


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fingerprint of a configuration apart from its seeds, and these."""
    if not config:
        return {"recipe_sha256": None, "seed": None, "optimised": []}
    plain = {name: config[name] for name in ("data", "model", "trainer") if name in config}
    seedless = json.loads(json.dumps(plain))
    data = seedless.get("data", {}).get("init_args", {})
    seeds = (config.get("seed_everything"), data.pop("seed", None))
    digest = hashlib.sha256(json.dumps(seedless, sort_keys=True).encode()).hexdigest()
    losses = class_paths(plain.get("model", {}).get("init_args", {}).get("loss"))
    optimised = sorted({metric for loss in losses for metric in _optimised(loss)})
    return {"recipe_sha256": digest, "seed": "/".join(map(str, seeds)), "optimised": optimised}


def _optimised(path: str) -> tuple[str, ...]:
    """Metrics that a class of loss declares; none for what is no loss of this installation."""
    module, _, name = path.rpartition(".")
    if not module.startswith("rased.losses."):
        return ()
    try:
        return tuple(getattr(importlib.import_module(module), name).optimises)
    except (ImportError, AttributeError):
        return ()


def class_paths(spec: Any) -> set[str]:
    """All class paths of a part of a configuration."""
    if isinstance(spec, Mapping):
        own = {str(spec["class_path"])} if "class_path" in spec else set()
        return own.union(*map(class_paths, spec.values()))
    if isinstance(spec, list | tuple):
        return set().union(*map(class_paths, spec))
    return set()

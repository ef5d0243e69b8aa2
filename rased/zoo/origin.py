"""What `rased train --from` takes: a checkpoint of the zoo or a run, by name or folder, as an Origin."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rased.config import load_yaml
from rased.errors import RasedError, nearest
from rased.training.base import load_run
from rased.training.history import manifest_of
from rased.training.origin import Origin, read_origin, settings_of
from rased.zoo.card import CARD, MANIFEST, WEIGHTS, read_card
from rased.zoo.loading import check_manifest, load_folder, verified_files
from rased.zoo.publish import CONFIG
from rased.zoo.registry import entries

_PLAIN_WORD = re.compile(r"[\w-]*")
_CLASS = re.compile(r"rased(\.\w+)+")
_ANY_ENHANCER = "rased.training.waveform.WaveformEnhancement"


def find(source: str, runs: Path = Path("runs")) -> Path:
    """Folder of the entry or run that a word names.

    Raises:
        RasedError: nothing, or two things, of that name.
    """
    path = Path(source)
    if (path / CARD).is_file() or (path / "checkpoints").is_dir():
        return path
    known = entries()
    run = runs / source
    if source in known and (run / "checkpoints").is_dir():
        raise RasedError(
            f"'{source}' is a checkpoint of the zoo and a run: write {run} or {known[source]}."
        )
    if (run / "checkpoints").is_dir():
        return run
    if source in known:
        return known[source]
    names = [*known, *(folder.parent.name for folder in runs.glob("*/checkpoints"))]
    raise RasedError(f"there is no checkpoint or run '{source}'; {nearest(source, names)}")


def read(folder: Path) -> tuple[Origin, dict[str, Any]]:
    """Read and verify the checkpoint in a folder.

    Returns:
        The origin, and the part `model` of the configuration that trains it.

    Raises:
        RasedError: no checkpoint, or one that is not what it says.
    """
    return _of_entry(folder) if (folder / CARD).is_file() else _of_run(folder)


def _of_entry(folder: Path) -> tuple[Origin, dict[str, Any]]:
    enhancer = load_folder(folder)
    card = read_card(folder)
    files = verified_files(folder, card)
    check_manifest(folder, card, files)
    training = card["training"]
    origin = Origin(
        name=card["name"],
        kind="zoo",
        weights=dict(enhancer.state_dict()),
        sha256=hashlib.sha256(files[WEIGHTS]).hexdigest(),
        steps=training.get("steps"),
        manifest=json.loads(files[MANIFEST]) if MANIFEST in files else None,
        settings=settings_of(enhancer),
        earlier=training.get("from"),
    )
    model: dict[str, Any] = {"class_path": _ANY_ENHANCER, "init_args": {}}
    if (folder / CONFIG).is_file():
        told = load_yaml(folder / CONFIG).get("model")
        if isinstance(told, Mapping) and _builds_rased_alone(told):
            model = {**told, "init_args": dict(told.get("init_args") or {})}
    model["init_args"]["enhancer"] = card["enhancer"]
    return origin, model


def _of_run(folder: Path) -> tuple[Origin, dict[str, Any]]:
    enhancer = load_run(folder)
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path, map_location="cpu", weights_only=True)
    manifest = manifest_of(folder, content)
    earlier = read_origin(folder)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = Origin(
        name=folder.resolve().name,
        kind="run",
        weights=dict(enhancer.state_dict()),
        sha256=digest,
        steps=int(content["global_step"]),
        manifest=None if manifest is None else json.loads(manifest),
        settings=settings_of(enhancer),
        earlier=None if earlier is None else earlier.facts,
    )
    arguments = dict(content["hyper_parameters"])
    arguments.pop("_instantiator", None)
    return origin, {"class_path": arguments.pop("_class_path"), "init_args": arguments}


def _builds_rased_alone(value: Any) -> bool:
    """Whether all strings of a stranger's configuration are plain words, and all classes are rased's."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "class_path":
                if not (isinstance(item, str) and _CLASS.fullmatch(item)):
                    return False
            elif not (_builds_rased_alone(str(key)) and _builds_rased_alone(item)):
                return False
        return True
    if isinstance(value, list | tuple):
        return all(map(_builds_rased_alone, value))
    return not isinstance(value, str) or bool(_PLAIN_WORD.fullmatch(value))

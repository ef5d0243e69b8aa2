"""Resolve the argument of `rased train --from` (a checkpoint or run, by name or folder) to an Origin."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rased import documents
from rased.building import verify
from rased.classes import allowing
from rased.config import load_yaml
from rased.data.manifest import read as read_manifest
from rased.disk import sha256
from rased.documents import Count
from rased.errors import RasedError, nearest
from rased.tensors import read_checkpoint
from rased.training.base import Enhancement
from rased.training.history import manifest_of
from rased.training.origin import Origin, read_origin, settings_of
from rased.zoo import is_graph, resolve
from rased.zoo.attributions import ATTRIBUTIONS, of_data, together
from rased.zoo.card import CARD, MANIFEST, WEIGHTS, read_card
from rased.zoo.importable import importable
from rased.zoo.loading import check_manifest, load_folder, verified_files
from rased.zoo.recipe import CONFIG
from rased.zoo.registry import entries
from rased.zoo.runs import checkpoint_path, enhancer_of

_ANY_ENHANCER = "rased.training.waveform.WaveformEnhancement"


def find(source: str, runs: Path = Path("runs")) -> Path:
    """Return the folder of an entry or run; third-party weights are fetched first.

    Raises:
        RasedError: the name is unknown, or ambiguous.
    """
    path = Path(source)
    if (path / CARD).is_file() or (path / "checkpoints").is_dir():
        return path
    if is_graph(path):
        raise RasedError(
            f"'{source}' is an exported graph, which cannot be trained: give the checkpoint that it was made from."
        )
    known = entries()
    run = runs / source
    # `rased train --from NAME` must not depend on the order of look-ups, so an ambiguous name is an error.
    if source in known and (run / "checkpoints").is_dir():
        raise RasedError(
            f"'{source}' is both a checkpoint of the zoo and a run: write {run} or {known[source]}."
        )
    if (run / "checkpoints").is_dir():
        return run
    if source in known:
        return known[source]
    if source in importable():
        return Path(resolve(source).here().place)
    names = [*known, *importable(), *(folder.parent.name for folder in runs.glob("*/checkpoints"))]
    raise RasedError(f"no checkpoint or run is named '{source}'; {nearest(source, names)}")


def read(folder: Path, *, allow: Sequence[str] = ()) -> tuple[Origin, dict[str, Any]]:
    """Read and verify the checkpoint in a folder.

    Args:
        folder: folder of the entry or run.
        allow: packages, besides rased, whose classes it may use.

    Returns:
        The origin, and the section `model` of the configuration that trains it.

    Raises:
        RasedError: no checkpoint, or it fails a check.
    """
    given = _of_entry if (folder / CARD).is_file() else _of_run
    return given(folder, allow)


def _of_entry(folder: Path, allow: Sequence[str]) -> tuple[Origin, dict[str, Any]]:
    enhancer = load_folder(folder, allow=allow)
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
        manifest=read_manifest(files[MANIFEST], of=folder / MANIFEST)
        if MANIFEST in files
        else None,
        settings=settings_of(enhancer),
        earlier=training.get("from"),
        licence=dict(card["licence"]),
        attributions=files[ATTRIBUTIONS].decode() if ATTRIBUTIONS in files else "",
    )
    model = _recipe(folder, card["enhancer"], allow)
    # No recipe that may be used, as for imported weights: train with a loss on waveforms, which suits any enhancer.
    if model is None:
        model = {"class_path": _ANY_ENHANCER, "init_args": {"enhancer": card["enhancer"]}}
    return origin, model


def _recipe(
    folder: Path, enhancer: Mapping[str, Any], allow: Sequence[str]
) -> dict[str, Any] | None:
    """Return the section `model` of an entry's recipe; None if it uses classes that are not allowed."""
    try:
        told = load_yaml(folder / CONFIG, own=False).get("model")
        if not isinstance(told, Mapping) or not isinstance(told.get("init_args"), Mapping):
            return None
        model = {**told, "init_args": {**told["init_args"], "enhancer": enhancer}}
        verify(Enhancement, model, classes=allowing(allow))
    except RasedError:
        return None
    return model


def _of_run(folder: Path, allow: Sequence[str]) -> tuple[Origin, dict[str, Any]]:
    path = checkpoint_path(folder)
    content = read_checkpoint(path)
    enhancer = enhancer_of(content, path, allow=allow)
    manifest = manifest_of(folder, content)
    earlier = read_origin(folder)
    origin = Origin(
        name=folder.resolve().name,
        kind="run",
        weights=dict(enhancer.state_dict()),
        sha256=sha256(path),
        steps=documents.fit(content.get("global_step"), Count, of=path, repair="Copy it again."),
        manifest=None if manifest is None else read_manifest(manifest, of=folder / MANIFEST),
        settings=settings_of(enhancer),
        earlier=None if earlier is None else earlier.facts,
        attributions=together(
            [
                earlier.attributions if earlier else "",
                *of_data(
                    [load_yaml(path, own=False) for path in folder.glob("config.yaml")], gone=True
                ),
            ]
        ),
    )
    arguments = dict(content["hyper_parameters"])
    # LightningCLI adds this key to the hyperparameters of a checkpoint.
    arguments.pop("_instantiator", None)
    model = {"class_path": arguments.pop("_class_path", None), "init_args": arguments}
    verify(Enhancement, model, classes=allowing(allow), where=f"'{path}': model")
    return origin, model

"""Start a run from the weights of a checkpoint, with the record of its training data, and freeze parameters.

The run stores all of it in RUN/origin/, so that it can be resumed without the earlier checkpoint.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from rased import yaml_reader
from rased.config import load_yaml
from rased.data.manifest import UNKNOWN
from rased.errors import RasedError, nearest
from rased.signal.stft import STFT
from rased.training.base import Enhancement

FOLDER = "origin"
_FACTS, _WEIGHTS, _MANIFEST = "origin.yaml", "model.safetensors", "manifest.json"
_ATTRIBUTIONS = "ATTRIBUTIONS.md"
_FREE = {"training", "card", "post_processing", "latency", "chunk_length"}
"""Attributes that may differ between a checkpoint and the model that starts from it."""
_PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Origin:
    """A checkpoint that a run starts from.

    Attributes:
        name: name of the zoo entry or of the run.
        kind: where it comes from.
        weights: weights of its enhancer; for a run, the averaged weights.
        sha256: SHA-256 of the file of the weights.
        steps: training steps of the weights; None if unknown.
        manifest: their training data (see `rased.data.manifest`); None if unknown.
        settings: settings of the architecture; see `settings_of`.
        earlier: what the checkpoint itself started from, in the form of `facts`; None if nothing.
        licence: licences of its card; None for a run, and if unknown.
        attributions: text that the licences of its training data require beside weights; "" for none.
    """

    name: str
    kind: Literal["zoo", "run"]
    weights: dict[str, Tensor]
    sha256: str
    steps: int | None
    manifest: Mapping[str, Any] | None
    settings: dict[str, str]
    earlier: dict[str, Any] | None = None
    licence: dict[str, Any] | None = None
    attributions: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """Return the facts for a card."""
        told: dict[str, Any] = {"name": self.name, "kind": self.kind, "sha256": self.sha256}
        told["steps"] = self.steps
        more = {"licence": self.licence, "from": self.earlier}
        return {**told, **{name: value for name, value in more.items() if value}}

    @property
    def heard(self) -> dict[str, Any]:
        """Return the manifest to merge into that of the new run."""
        return {UNKNOWN: [self.name]} if self.manifest is None else dict(self.manifest)

    def save(self, run: Path) -> None:
        """Write RUN/origin, completely or not at all."""
        folder, partial = run / FOLDER, run / f".{FOLDER}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        facts = {**self.facts, "settings": self.settings}
        (partial / _FACTS).write_text(yaml_reader.dump(facts), encoding="utf-8")
        # safetensors refuses views.
        weights = {name: value.contiguous() for name, value in self.weights.items()}
        safetensors.torch.save_file(weights, partial / _WEIGHTS)
        if self.manifest is not None:
            text = json.dumps(self.manifest, separators=(",", ":"))
            (partial / _MANIFEST).write_text(text, encoding="utf-8")
        if self.attributions:
            (partial / _ATTRIBUTIONS).write_text(self.attributions, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        # Atomic: a reader sees all of RUN/origin or none of it.
        partial.rename(folder)


def read_origin(run: Path) -> Origin | None:
    """Return what a run started from; None if it started from random weights.

    Raises:
        RasedError: RUN/origin is damaged.
    """
    folder = run / FOLDER
    if not folder.is_dir():
        return None
    facts = load_yaml(folder / _FACTS, own=False)
    manifest, attributions = folder / _MANIFEST, folder / _ATTRIBUTIONS
    try:
        return Origin(
            name=facts["name"],
            kind=facts["kind"],
            weights=safetensors.torch.load_file(folder / _WEIGHTS),
            sha256=facts["sha256"],
            steps=facts["steps"],
            manifest=json.loads(manifest.read_bytes()) if manifest.is_file() else None,
            settings=dict(facts["settings"]),
            earlier=facts.get("from"),
            licence=facts.get("licence"),
            attributions=attributions.read_text("utf-8") if attributions.is_file() else "",
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RasedError(
            f"'{folder}' is damaged ({' '.join(str(error).split())}): copy the run again, or start a new one."
        ) from None


def start(
    module: Enhancement,
    origin: Origin,
    changed: Sequence[str] = (),
    *,
    into: Sequence[str] = (),
) -> None:
    """Load the weights and statistics of a checkpoint into the network and its average.

    Args:
        module: the training; its enhancer gets the weights.
        origin: the checkpoint.
        changed: names of settings that may differ from those of the checkpoint, such as `stft`.
        into: the parts of the enhancer that get them, such as `first`; none: all of it.

    Raises:
        RasedError: the enhancer of the module has another architecture, or no setting or part has such a name.
    """
    parts: list[str | None] = [*into] or [None]
    for part in parts:
        _start_part(module, origin, changed, part)


def _start_part(
    module: Enhancement, origin: Origin, changed: Sequence[str], into: str | None
) -> None:
    whole = "model.enhancer" if into is None else f"model.enhancer, part '{into}',"
    hint = "" if into else "Leave -c MODEL out to train the model of the checkpoint."
    ours = settings_of(_part(module.enhancer, into))
    names = [*dict.fromkeys([*origin.settings, *ours])]
    for name in changed:
        if name not in names:
            raise RasedError(f"--change {name}: no setting has this name; {nearest(name, names)}")
    differing = [
        name
        for name in names
        if ours.get(name) != origin.settings.get(name) and name not in changed
    ]
    if differing:
        name, wanted = differing[0], " ".join([*changed, *differing])
        here, there = (known.get(name, "missing") for known in (ours, origin.settings))
        raise RasedError(
            f"{whole} is not the architecture of '{origin.name}': {name} is {here} instead of {there}. "
            f"{hint} If the weights fit nevertheless, and you want this change: --change {wanted}."
        )
    for network in (module.enhancer, module.average):
        try:
            _part(network, into).load_state_dict(origin.weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise RasedError(
                f"the weights of '{origin.name}' do not fit {whole} ({reason}). {hint}".rstrip()
            ) from None


def _part(enhancer: nn.Module, name: str | None) -> nn.Module:
    if name is None:
        return enhancer
    named = dict(enhancer.named_modules())
    if name not in named:
        raise RasedError(
            f"--into {name}: {type(enhancer).__name__} has no part of this name; {nearest(name, [*named][1:])}"
        )
    return named[name]


def freeze(module: Enhancement, globs: Sequence[str]) -> None:
    """Freeze the parameters of the enhancer that match a pattern, and the running statistics of frozen norms.

    Raises:
        RasedError: a pattern matches nothing, or no parameter is left to train.
    """
    named = dict(module.enhancer.named_parameters())
    for glob in globs:
        matching = [name for name in named if fnmatchcase(name, glob)]
        if not matching:
            raise RasedError(
                f"--freeze '{glob}' matches no parameter of {type(module.enhancer).__name__}; "
                f"{nearest(glob.replace('*', ''), named)}"
            )
        for name in matching:
            named[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in named.values()):
        raise RasedError("--freeze leaves no parameter to train: give narrower patterns.")
    module.fixed = [part for part in module.enhancer.modules() if _is_fixed_norm(part)]


def _is_fixed_norm(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    trained = any(item.requires_grad for item in parameters)
    # torch's private base class of all norms with running statistics (batch and instance norms).
    return isinstance(part, _NormBase) and bool(parameters) and not trained


def settings_of(enhancer: nn.Module) -> dict[str, str]:
    """Return class and plain settings of every part of an enhancer, by name; equal for equal architectures.

    The padding of a transform at the ends of a file is left out. It affects only the first and last frames, so weights
    that were trained with reflected ends can be used in a streaming model.
    """
    found: dict[str, str] = {}
    for name, part in enhancer.named_modules():
        found[name or "its class"] = type(part).__name__
        for key, value in sorted(vars(part).items()):
            # With a shorter window, the phases of the spectrum would differ as well.
            if isinstance(value, STFT) and value.win_length == value.n_fft:
                value = dataclasses.replace(value, pad_mode="constant")
            # Underscored attributes are internals of torch, such as hooks.
            kept = isinstance(value, _PLAIN) or dataclasses.is_dataclass(value)
            if kept and key not in _FREE and not key.startswith("_"):
                found[f"{name}.{key}".removeprefix(".")] = repr(value)
    for name, value in enhancer.state_dict().items():
        # Settings of parts that are not plain (a list of layers, say) show in the shapes.
        found[f"the shape of {name}"] = str(tuple(value.shape))
    return found

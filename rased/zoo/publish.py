"""Publish a run as a zoo entry: weights, card, golden output, and the record of the training data."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from rased import disk, documents, names, yaml_reader
from rased.building import build
from rased.classes import allowing
from rased.conditions import Condition, Given
from rased.config import load_yaml, portable
from rased.data.manifest import read as read_manifest
from rased.data.manifest import splits, unknown
from rased.documents import Count
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.models.cost import macs_per_second
from rased.models.frequency import FrequencyDomainEnhancer
from rased.tensors import read_checkpoint
from rased.zoo.attributions import ATTRIBUTIONS, of_data, together
from rased.zoo.card import CONDITION, GOLDEN, MANIFEST, MANIFEST_SHA256, SCHEMA, WEIGHTS, write_card
from rased.zoo.loading import facts_of, golden_excerpt, summed_up, verify
from rased.zoo.recipe import Recipe, recipe
from rased.zoo.runs import checkpoint_path, enhancer_of, spec_of

if TYPE_CHECKING:
    from rased.training.history import Launch
    from rased.training.origin import Origin

CODE_LICENCE = "Apache-2.0"


def publish(
    run: str | Path,
    name: str,
    out: str | Path = "zoo",
    *,
    summary: str = "",
    purpose: str = "",
    licence: str | None = None,
    scores: Mapping[str, Mapping[str, float]] | None = None,
    attenuation_limit_db: float | None = None,
    replace: bool = False,
    allow: Sequence[str] = (),
    repeatable_only: bool = False,
    condition: Given | None = None,
) -> Path:
    """Write OUT/NAME from the best checkpoint of a run, with its averaged weights; return its folder.

    Besides card, weights and golden output, the entry holds: manifest.json (keys, content hashes, speakers, noise
    types and rooms of the training and validation data, for the overlap check of the leaderboard; the weights refer to
    it by SHA-256), training.yaml (the configuration of the launch that made the checkpoint; training-1.yaml and so on
    of earlier launches), launches.yaml (all launches, if there were several) and ATTRIBUTIONS.md (required by the
    licences of the data). The card lists the commands that reproduce the weights from these files and the same data,
    or says why they cannot be reproduced.

    Args:
        run: folder of a run.
        name: name of the entry.
        out: folder of entries.
        summary: one line for the card; "": derived from the architecture.
        purpose: what the checkpoint removes, in a few words.
        licence: licence of the weights; None: that of the checkpoint that the run started from, else Apache-2.0.
            Another licence is listed beside that of the earlier checkpoint, which still applies.
        scores: test set -> metric -> mean, for the card.
        attenuation_limit_db: post-processing of the entry, if it differs from the run's.
        replace: replace an existing entry of that name.
        allow: packages, besides rased, whose classes the run may use, such as that of your own architecture.
        repeatable_only: reject a run whose weights cannot be reproduced by commands.
        condition: additional inputs of the model for the golden output; see `Enhancer.given`.

    Raises:
        RasedError: no such run, a name that is taken, an enhancer without this post-processing, or an entry
            that fails its verification.
    """
    run = Path(run)
    names.plain(name, what="the name of the entry")
    best = _Best.read(run, allow)
    enhancer, spec = best.enhancer, best.spec
    golden = enhancer.given(condition)
    # The limit belongs to the entry: golden output and cost below are those of the limited enhancer.
    if attenuation_limit_db is not None:
        enhancer, spec = _limited(enhancer, spec, attenuation_limit_db, allow)
    again = recipe(best.launches, best.steps, name, best.config)
    if repeatable_only and again.obstacle:
        raise RasedError(
            f"the weights of '{run}' cannot be reproduced: {again.obstacle}. Train again without that, or "
            "publish with --not-repeatable; the card then says so."
        )
    return write_entry(
        Path(out) / name,
        enhancer=enhancer,
        spec=spec,
        summary=summary or f"{type(enhancer).__name__} trained with rased",
        purpose=purpose,
        paper=enhancer.paper,
        licence=_licence(best, licence),
        training={**_told(again, name, attenuation_limit_db), **best.facts()},
        scores=scores,
        files={MANIFEST: best.stored, **_records(again, best)},
        replace=replace,
        allow=allow,
        condition=golden,
    )


@dataclass(frozen=True)
class _Best:
    """The best checkpoint of a run, and how it was made.

    Attributes:
        enhancer: with the averaged weights.
        spec: class_path and init_args that build it.
        steps: training steps of the weights.
        epochs: finished epochs.
        launches: launches of the run that contributed to the weights; empty if they were not recorded.
        config: configuration of the last of them.
        manifest: what it was trained on.
        stored: the same as bytes, as the checkpoint refers to it.
        origin: the checkpoint that the run started from; None if it started from random weights.
    """

    enhancer: Enhancer
    spec: dict[str, Any]
    steps: int
    epochs: int
    launches: "Sequence[Launch]"
    config: dict[str, Any]
    manifest: Mapping[str, Any]
    stored: bytes
    origin: "Origin | None"

    @classmethod
    def read(cls, run: Path, allow: Sequence[str]) -> "_Best":
        """Read it from the folder of a run."""
        from rased.data.datamodule import MixtureDataModule
        from rased.training.history import as_json, manifest_of, read_launches
        from rased.training.origin import read_origin

        path = checkpoint_path(run)
        checkpoint = read_checkpoint(path)
        enhancer = enhancer_of(checkpoint, path, allow=allow)
        steps, epochs = (
            documents.fit(checkpoint.get(field), Count, of=path, repair="Copy it again.")
            for field in ("global_step", "epoch")
        )
        # A launch after the best checkpoint changed nothing in these weights.
        launches = [launch for launch in read_launches(run) if launch.step < steps]
        config = launches[-1].config if launches else load_yaml(run / "config.yaml", own=False)
        stored = manifest_of(run, checkpoint)
        # Runs of earlier versions have no manifest: it follows from the data of the configuration.
        if stored is None:
            data = build(MixtureDataModule, config["data"], classes=allowing(allow), where="data")
            stored = as_json(data.manifest()).encode()
        return cls(
            enhancer=enhancer,
            spec=_plain(spec_of(checkpoint, path)),
            steps=steps,
            epochs=epochs,
            launches=launches,
            config=config,
            manifest=read_manifest(stored, of=run / MANIFEST),
            stored=stored,
            origin=read_origin(run),
        )

    def facts(self) -> dict[str, Any]:
        """Return the fields of a card on the training."""
        facts: dict[str, Any] = {
            "steps": self.steps,
            "epochs": self.epochs,
            "audio_hours": _audio_hours(self.launches, self.steps),
            "data": summed_up(self.manifest),
            "manifest": MANIFEST,
            "versions": {package: version(package) for package in ("torch", "pytorch-lightning")},
            "git": self.launches[-1].git if self.launches else None,
        }
        if self.origin is not None:
            facts["from"] = self.origin.facts
        if unknown(self.manifest):
            facts["data_unknown_of"] = unknown(self.manifest)
        return facts


def write_entry(
    folder: Path,
    *,
    enhancer: Enhancer,
    spec: Mapping[str, Any],
    summary: str,
    paper: str,
    licence: Mapping[str, Any],
    training: Mapping[str, Any],
    purpose: str = "",
    scores: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    replace: bool = False,
    allow: Sequence[str] = (),
    condition: Condition | None = None,
) -> Path:
    """Write an entry, verify it, and only then give it its name.

    Args:
        folder: the entry; its name is that of the checkpoint.
        enhancer: the model with its weights.
        spec: class_path and init_args that build it.
        summary: one line.
        paper: paper of the architecture.
        licence: licences of code, weights and data.
        training: how the weights were made.
        purpose: what the checkpoint removes, in a few words.
        scores: test set -> metric -> mean.
        files: additional files by name.
        replace: replace an existing entry.
        allow: packages, besides rased, whose classes the spec may use.
        condition: additional inputs of the model for its golden output, one row.

    Raises:
        RasedError: the folder exists, or the entry fails its verification.
    """
    if folder.exists() and not replace:
        raise RasedError(f"'{folder}' exists; choose another name, or add --replace.")
    contents = {**_weights(enhancer, condition, files or {}), **(files or {})}
    card = {
        "schema": SCHEMA,
        "name": folder.name,
        "summary": summary,
        **({"purpose": purpose} if purpose else {}),
        "enhancer": _plain(spec),
        **facts_of(enhancer),
        "macs_per_second": round(macs_per_second(enhancer, condition=condition)),
        "files": {key: hashlib.sha256(content).hexdigest() for key, content in contents.items()},
        "licence": _plain(licence),
        "paper": paper,
        "training": _plain(training),
        "scores": _plain(scores or {}),
    }
    try:
        # Verified under its hidden name: an entry that fails never appears in the zoo.
        with disk.new_folder(folder, replace=replace) as part:
            for key, content in contents.items():
                (part / key).write_bytes(content)
            write_card(part, card)
            failed = [check for check in verify(part, allow=allow) if not check.passed]
            if failed:
                raise RasedError(
                    f"'{folder.name}' was not published: {failed[0].name}: {failed[0].detail.rstrip('.')}."
                )
    except FileExistsError:
        raise RasedError(f"'{folder}' exists; choose another name, or add --replace.") from None
    except OSError as error:
        raise RasedError(f"cannot write '{folder}': {error.strerror or error}.") from None
    return folder


def _weights(
    enhancer: Enhancer, condition: Condition | None, files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the weights, with the SHA-256 of the manifest in `files`, and the golden output."""
    noisy = golden_excerpt(enhancer.sample_rate, enhancer.channels)
    with torch.inference_mode():
        estimate = enhancer.eval()(noisy, condition=condition)
    given = {f"{CONDITION}{name}": one.contiguous() for name, one in (condition or {}).items()}
    golden = {"noisy": noisy, "estimate": estimate.contiguous(), **given}
    weights = {key: value.contiguous() for key, value in enhancer.state_dict().items()}
    manifest = files.get(MANIFEST)
    # The hash in the weights binds them to their training data: a manifest cannot be exchanged unnoticed.
    named = {} if manifest is None else {MANIFEST_SHA256: hashlib.sha256(manifest).hexdigest()}
    return {
        WEIGHTS: safetensors.torch.save(weights, metadata=named),
        GOLDEN: safetensors.torch.save(golden),
    }


def _limited(
    enhancer: Enhancer, spec: dict[str, Any], limit_db: float, allow: Sequence[str]
) -> tuple[Enhancer, dict[str, Any]]:
    """Return the enhancer with another attenuation limit, and its spec."""
    if not isinstance(enhancer, FrequencyDomainEnhancer):
        raise RasedError(f"{type(enhancer).__name__} has no post_processing to limit.")
    settings = spec["init_args"].get("post_processing") or {}
    changed = {**settings, "attenuation_limit_db": limit_db}
    spec = {**spec, "init_args": {**spec["init_args"], "post_processing": changed}}
    limited = build(Enhancer, spec, classes=allowing(allow))
    limited.load_state_dict(enhancer.state_dict())
    return limited.eval(), spec


def _records(again: Recipe, best: _Best) -> dict[str, bytes]:
    """Return the files that record a training: configurations, launches, attributions of the data."""
    from rased.training.history import LAUNCHES

    records = {
        file: yaml_reader.dump(portable(leg)).encode() for file, leg in again.configs.items()
    }
    if len(best.launches) > 1:
        entries = [portable(asdict(launch)) for launch in best.launches]
        records[LAUNCHES] = yaml_reader.dump(entries).encode()
    heard = of_data([launch.config for launch in best.launches] or [best.config])
    attributions = together([best.origin.attributions if best.origin else "", *heard])
    if attributions:
        records[ATTRIBUTIONS] = attributions.encode()
    return records


def _licence(best: _Best, given: str | None) -> dict[str, Any]:
    """Return the licences of an entry: those of the run, and those of the checkpoints that it started from."""
    parts = [part for roles in splits(best.manifest).values() for part in roles.values()]
    data = {licence for part in parts for licence in part["licences"]}
    weights = [given] if given else []
    facts = None if best.origin is None else best.origin.facts
    while facts:
        # Weights that were trained further are derived from the earlier ones, whose licence still binds everybody.
        earlier = facts.get("licence") or {}
        if facts["kind"] == "zoo":
            weights += _lines(earlier.get("weights")) or [f"unknown (weights of {facts['name']})"]
            data |= set(_lines(earlier.get("data")))
            break  # its card has the licences of everything before it
        facts = facts.get("from")
    names = list(dict.fromkeys(weights)) or [CODE_LICENCE]
    return {
        "code": CODE_LICENCE,
        "weights": names[0] if len(names) == 1 else names,
        "data": sorted(data),
    }


def _lines(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _told(again: Recipe, name: str, limit_db: float | None) -> dict[str, Any]:
    """Return the fields of a card on how its weights can be reproduced."""
    if again.obstacle:
        return {"not_repeatable": again.obstacle}
    limit = "" if limit_db is None else f" --attenuation-limit-db {limit_db:g}"
    entry = f"rased zoo publish runs/{name} --name {name}{limit}"
    return {"command": " && ".join([*again.commands, entry])}


def _audio_hours(launches: "Sequence[Launch]", steps: int) -> float | None:
    """Return the hours of training audio (steps x batches x samples x ranks x segment); None if partly unknown."""
    # A launch that did not start at step 0 continued something that is not recorded.
    if not launches or launches[0].step:
        return None
    hours = 0.0
    ends = [*(launch.step for launch in launches[1:]), steps]
    for launch, end in zip(launches, ends, strict=True):
        segment = (launch.config["data"]["init_args"].get("scene") or {}).get("segment")
        if not segment or not launch.batch_size:
            return None
        samples = launch.batch_size * launch.world_size * launch.accumulate_grad_batches
        hours += (end - launch.step) * samples * segment / 3600
    return round(hours, 2)


def _plain(value: Any) -> Any:
    """Convert to mappings and lists for YAML."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value

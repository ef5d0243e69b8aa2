"""Record how a run was trained: launches.yaml (one entry per launch) and manifest.json (the training data).

Every checkpoint holds the SHA-256 of the manifest at that time. If a later launch adds data, the previous manifest
is kept as manifest-DIGITS.json.
"""

import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from rased import documents, yaml_reader
from rased.data.datamodule import MixtureDataModule
from rased.data.manifest import UNKNOWN, read, splits, unknown
from rased.data.mixtures import order
from rased.data.shards.index import DIGITS
from rased.disk import on_disk, sha256, write_text
from rased.documents import Count
from rased.errors import RasedError
from rased.machine import commit
from rased.training.base import MANIFEST_SHA256, Enhancement
from rased.training.folder import LAUNCHES
from rased.training.optimisation import budget
from rased.training.origin import read_origin

MANIFEST = "manifest.json"
_KEPT = "The checkpoints are untouched: make room, resume"
_DAMAGED = "launches-damaged.yaml"
_REPAIR = "Copy the run again from where it came."
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


@dataclass(frozen=True)
class Launch:
    """One launch of a run: the position where it started and its batch layout, which determine all later batches.

    Attributes:
        step: steps done before this launch.
        epoch: epoch in which it started.
        position: samples of that epoch that were already used.
        batch: batches of that epoch that were already done, in batches of this launch.
        batches_per_epoch: batches per rank and epoch.
        batch_size: samples per batch and rank; None if the data module is not one of rased.
        world_size: number of ranks.
        accumulate_grad_batches: batches per rank and step.
        corpora: digests of the training data, by role (see `Corpus.digest`).
        config: the whole configuration.
        git: commit of the checkout that trained; None outside a checkout, or if it was not recorded.
        broke: step in which an error or a signal ended the launch; None if it finished, is running, or was killed.
    """

    step: Count
    epoch: Count
    position: Count
    batch: Count
    batches_per_epoch: Positive
    batch_size: Positive | None
    world_size: Positive
    accumulate_grad_batches: Positive
    corpora: dict[str, str]
    config: dict[str, Any]
    git: str | None = None
    broke: Count | None = None

    def batches(self, step: int, count: int) -> tuple[int, int, int]:
        """Locate the batches of one step, in constant time.

        Args:
            step: number of the step, greater than `self.step`.
            count: samples in an epoch.

        Returns:
            The epoch, the position in it, and the number of batches that every rank takes from there.
        """
        every = self.accumulate_grad_batches
        # Lightning steps at the end of an epoch, too, when the last window of accumulated batches is incomplete.
        steps_per_epoch = -(-self.batches_per_epoch // every)
        # Windows since the beginning of the epoch in which the launch started.
        window = self.batch // every + step - self.step - 1
        epochs, window = divmod(window, steps_per_epoch)
        # Later epochs begin at their first sample; in the first one, an earlier launch may have used some,
        # in batches of another size.
        begun, position = (0, 0) if epochs else (self.batch, self.position)
        first = max(window * every, begun)
        last = min(window * every + every, self.batches_per_epoch)
        position = order.consumed(
            first - begun,
            position,
            count,
            batch_size=cast(int, self.batch_size),
            world_size=self.world_size,
        )
        return self.epoch + epochs, position, last - first


def read_launches(run: Path) -> list[Launch]:
    """Return the launches that led to the current state of a run, oldest first; an empty list before training.

    If a launch resumed from a step before the end of the previous one, the repeated steps belong to the new launch.

    Raises:
        RasedError: launches.yaml is damaged.
    """
    path = run / LAUNCHES
    if not path.is_file():
        return []
    found = documents.fit(yaml_reader.read(path), list[Launch], of=path, repair=_REPAIR)
    if not found:
        raise RasedError(f"'{path}' is damaged: it contains no launch. {_REPAIR}")
    return cast(list[Launch], found)


def launch_of(launches: list[Launch], step: int) -> Launch:
    """Return the launch that did a step; the first step of a run is 1."""
    return next(launch for launch in reversed(launches) if launch.step < step)


class History(Callback):
    """Writes launches.yaml and manifest.json.

    Args:
        folder: folder of the run.
        config: configuration of the run.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any]) -> None:
        self.folder, self.config = Path(folder), config
        self._recorded = False

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record where this launch starts.

        Raises:
            RasedError: the training has no budget of steps.
        """
        budget(trainer)
        data = cast(Any, trainer).datamodule
        # That of `MixtureDataModule`; other data modules have none.
        loader = getattr(trainer.train_dataloader, "loader", None)
        corpora: dict[str, str] = {}
        if isinstance(data, MixtureDataModule):
            corpora = {corpus.role: corpus.digest() for corpus in data.plan("train").corpora}
            self._write_manifest(data)
            cast(Enhancement, pl_module).manifest_sha256 = sha256(self.folder / MANIFEST)
        progress = cast(Any, trainer.fit_loop.epoch_loop).batch_progress.current
        launch = Launch(
            step=trainer.global_step,
            epoch=trainer.current_epoch,
            position=getattr(loader, "position", 0),
            batch=progress.processed,
            batches_per_epoch=int(trainer.num_training_batches),
            batch_size=getattr(loader, "batch_size", None),
            world_size=trainer.world_size,
            accumulate_grad_batches=trainer.accumulate_grad_batches,
            corpora=corpora,
            config=self.config,
            git=commit(),
        )
        self._write([*(old for old in self._before() if old.step < launch.step), launch])
        self._recorded = True

    @rank_zero_only
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Record the step in which the launch failed, so that this step can be replayed too."""
        launches = self._before()
        # Otherwise this launch failed before it was recorded, and the last entry is that of another one.
        if launches and self._recorded:
            broken = replace(launches[-1], broke=trainer.global_step + 1)
            # If the disk is full, report the original error instead.
            with contextlib.suppress(OSError, RasedError):
                self._write([*launches[:-1], broken])

    def _before(self) -> list[Launch]:
        """Return the earlier launches; rename a damaged list and continue without it."""
        try:
            return read_launches(self.folder)
        except RasedError as error:
            (self.folder / LAUNCHES).replace(self.folder / _DAMAGED)
            print(f"{error} It is kept as {_DAMAGED}; training continues.", file=sys.stderr)
            return []

    def _write(self, launches: list[Launch]) -> None:
        entries = yaml_reader.dump([asdict(launch) for launch in launches])
        with on_disk(self.folder / LAUNCHES, _KEPT):
            write_text(self.folder / LAUNCHES, entries)

    def _write_manifest(self, data: MixtureDataModule) -> None:
        """Write the manifest: data of this launch, merged with those of earlier launches and starting weights."""
        path = self.folder / MANIFEST
        kept = read_manifest(self.folder)
        # A manifest that exists has been merged with that of the origin already.
        origin = read_origin(self.folder) if kept is None else None
        heard = kept or (origin.heard if origin else {})
        manifest: dict[str, Any] = dict(data.manifest(splits(heard)))
        if unknown(heard):
            manifest[UNKNOWN] = unknown(heard)
        if manifest == kept:
            return
        if kept:
            path.rename(path.with_stem(f"{path.stem}-{sha256(path)[:DIGITS]}"))
        with on_disk(path, _KEPT):
            write_text(path, as_json(manifest))


def read_manifest(run: Path) -> dict[str, Any] | None:
    """Return the manifest of a run (see `rased.data.manifest`); None before training.

    Raises:
        RasedError: manifest.json is damaged.
    """
    path = run / MANIFEST
    return read(path.read_bytes(), of=path) if path.is_file() else None


def manifest_of(run: Path, checkpoint: Mapping[str, Any]) -> bytes | None:
    """Return the manifest that belongs to a checkpoint of a run. Without a recorded hash, return the last one or None.

    Raises:
        RasedError: the run does not contain the manifest that the checkpoint names.
    """
    path = run / MANIFEST
    wanted = checkpoint.get(MANIFEST_SHA256)
    if wanted is None:
        return path.read_bytes() if path.is_file() else None
    for file in (path, path.with_stem(f"{path.stem}-{wanted[:DIGITS]}")):
        if file.is_file() and sha256(file) == wanted:
            return file.read_bytes()
    raise RasedError(
        f"'{path}' is not the manifest of the checkpoint's training data (SHA-256 {wanted[:DIGITS]}...): it was "
        "changed after training; restore the file."
    )


def as_json(manifest: Mapping[str, Any]) -> str:
    """Format a manifest as compact JSON: its lists are long and not meant for reading."""
    return json.dumps(manifest, separators=(",", ":"))

"""What a run was made of: launches.yaml, an entry for every launch, and manifest.json, the data it was trained on.

Every checkpoint names the manifest of its time by SHA-256. Where a later launch adds data, the manifest
that was there stays beside the new one, as manifest-DIGITS.json.
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
    """One launch of a run: where it went on and how it laid out its batches, of which all that followed is a function.

    Attributes:
        step: steps that were done before it.
        epoch: the epoch that it went on with.
        position: samples of that epoch that were consumed.
        batch: batches of that epoch that were done, as this launch counts them.
        batches_per_epoch: of a rank.
        batch_size: samples of a rank and batch; None where the data module is not one of rased.
        world_size: ranks.
        accumulate_grad_batches: batches of a rank and step.
        corpora: digests of the training data by role (see `Corpus.digest`).
        config: the whole configuration.
        broke: the step in which an error or a signal ended it; None where it ran to its end, still runs, or was killed.
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
    broke: Count | None = None

    def batches(self, step: int, count: int) -> tuple[int, int, int]:
        """Where the batches of one step are, in constant time.

        Args:
            step: number of the step, more than `self.step`.
            count: samples in an epoch.

        Returns:
            Epoch, position in it, and the number of batches that every rank takes from there.
        """
        every = self.accumulate_grad_batches
        steps_per_epoch = -(-self.batches_per_epoch // every)
        window = self.batch // every + step - self.step - 1
        epochs, window = divmod(window, steps_per_epoch)
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
    """The launches that led to where a run stands now, first to last; none where it has not begun.

    Where a launch went on from before the end of another, the steps between belong to it.

    Raises:
        RasedError: launches.yaml is damaged.
    """
    path = run / LAUNCHES
    if not path.is_file():
        return []
    found = documents.fit(yaml_reader.read(path), list[Launch], of=path, repair=_REPAIR)
    if not found:
        raise RasedError(f"'{path}' is damaged: it names no launch. {_REPAIR}")
    return cast(list[Launch], found)


def launch_of(launches: list[Launch], step: int) -> Launch:
    """The launch that made a step, the first of which has number 1."""
    return next(launch for launch in reversed(launches) if launch.step < step)


class History(Callback):
    """Keeps launches.yaml and manifest.json.

    Args:
        folder: folder of the run.
        config: its configuration.
    """

    def __init__(self, folder: str | Path, config: dict[str, Any]) -> None:
        self.folder, self.config = Path(folder), config

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where this launch goes on.

        Raises:
            RasedError: the training has no budget.
        """
        budget(trainer)
        data = cast(Any, trainer).datamodule
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
        )
        self._write([*(old for old in self._before() if old.step < launch.step), launch])

    @rank_zero_only
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Note in which step it broke off: that step can be replayed, too."""
        launches = self._before()
        if launches and launches[-1].step <= trainer.global_step:
            broken = replace(launches[-1], broke=trainer.global_step + 1)
            with contextlib.suppress(
                OSError, RasedError
            ):  # on a full disk the error itself matters more
                self._write([*launches[:-1], broken])

    def _before(self) -> list[Launch]:
        """The launches so far; a damaged list is put aside, and the training goes on."""
        try:
            return read_launches(self.folder)
        except RasedError as error:
            (self.folder / LAUNCHES).replace(self.folder / _DAMAGED)
            print(f"{error} It is kept as {_DAMAGED}; the training goes on.", file=sys.stderr)
            return []

    def _write(self, launches: list[Launch]) -> None:
        entries = yaml_reader.dump([asdict(launch) for launch in launches])
        with on_disk(self.folder / LAUNCHES, _KEPT):
            write_text(self.folder / LAUNCHES, entries)

    def _write_manifest(self, data: MixtureDataModule) -> None:
        """Write what the run is trained on: its data join what is there, or what the weights had heard before."""
        path = self.folder / MANIFEST
        kept = read_manifest(self.folder)
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
    """What a run was trained on (see `rased.data.manifest`); None where it has not begun.

    Raises:
        RasedError: manifest.json is damaged.
    """
    path = run / MANIFEST
    return read(path.read_bytes(), of=path) if path.is_file() else None


def manifest_of(run: Path, checkpoint: Mapping[str, Any]) -> bytes | None:
    """The manifest that a checkpoint of a run names; where it names none, the last one, None without any.

    Raises:
        RasedError: the run does not hold the one that is named.
    """
    path = run / MANIFEST
    wanted = checkpoint.get(MANIFEST_SHA256)
    if wanted is None:
        return path.read_bytes() if path.is_file() else None
    for file in (path, path.with_stem(f"{path.stem}-{wanted[:DIGITS]}")):
        if file.is_file() and sha256(file) == wanted:
            return file.read_bytes()
    raise RasedError(
        f"'{path}' is not what the checkpoint was trained on (it names SHA-256 {wanted[:DIGITS]}...): it was "
        "changed after training; bring the file back."
    )


def as_json(manifest: Mapping[str, Any]) -> str:
    """A manifest as it is kept: its lists are long, and nobody reads them."""
    return json.dumps(manifest, separators=(",", ":"))

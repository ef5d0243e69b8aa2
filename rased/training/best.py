"""Keep the best validated model of a run in best.ckpt, also across interruptions and changed settings.

The score is stored in the file itself, so nothing else (another checkpoint, the name of a folder) has to remember
it. If a launch validates differently (another loss, other data), the model in best.ckpt is validated again
before new models are compared with it.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from rased.data.datamodule import MixtureDataModule
from rased.errors import RasedError, nearest
from rased.tensors import read_checkpoint
from rased.training.base import SCORES, Enhancement
from rased.training.divided import load, united
from rased.training.optimisation import is_finite

NAME = "best.ckpt"
_MEASURE = "measure"
_AVERAGE = "average."
_NO_MATTER = {
    *("num_workers", "cache", "cache_gb", "rooms_mb", "spectra_mb", "block_mb", "window"),
    *("shuffle", "samples_per_epoch", "max_bad_share", "frames_per_epoch", "pool_frames"),
}
"""Data settings that do not affect a validation."""


class KeepBest(Checkpoint):
    """Writes best.ckpt after each validation that is better than all earlier ones.

    Args:
        folder: folder of best.ckpt.
        monitor: validation metric to compare.
        mode: "min" if smaller values are better, "max" if larger.
        config: configuration of the run.
    """

    def __init__(
        self, folder: str | Path, monitor: str, mode: Literal["min", "max"], config: dict[str, Any]
    ) -> None:
        self.path = Path(folder) / NAME
        self.monitor, self.mode, self.config = monitor, mode, config
        self.score: float | None = None
        self._measure, self._unlike = "", False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the best score so far, or validate the best model again if it was measured differently."""
        self._measure = measure(self.config, cast(Any, trainer).datamodule)
        self.score = None
        if not self.path.is_file() or cast(Any, trainer).fast_dev_run:
            return
        content = read_checkpoint(self.path)
        weights = content["state_dict"]
        # Such a model cannot be compared: the next one that is finite replaces it.
        if not all(bool(item.isfinite().all()) for item in weights.values()):
            return
        scores = content.get(SCORES) or {}
        if scores.get(_MEASURE) != self._measure or self.monitor not in scores:
            scores = self._validated(trainer, cast(Enhancement, pl_module), weights) or scores
        if self.monitor in scores:
            self.score = float(scores[self.monitor])
        else:
            self._unlike = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the model if it is the best so far.

        Raises:
            RasedError: the validation has no such metric.
        """
        if trainer.sanity_checking or cast(Any, trainer).fast_dev_run:
            return
        if self.monitor not in trainer.callback_metrics:
            known = [name for name in trainer.callback_metrics if name.startswith("valid/")]
            raise RasedError(
                f"run.monitor is {self.monitor}, but the validation has no such metric; {nearest(self.monitor, known)}"
            )
        scores = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("valid/") or name == self.monitor
        }
        score, module = scores[self.monitor], cast(Enhancement, pl_module)
        keep = self.better(score) and is_finite(module)
        if not math.isfinite(score) and trainer.is_global_zero:
            _say(
                f"{self.monitor} is {score} after step {trainer.global_step}: {NAME} is not replaced."
            )
        # All ranks must agree, because saving is collective.
        if not trainer.strategy.broadcast(keep):
            return
        if self._unlike and trainer.is_global_zero:
            self._set_aside()
        module.scores = {_MEASURE: self._measure, **scores}
        try:
            # `Enhancement.on_save_checkpoint` stores `scores`, in this file alone. No state of the optimisers.
            trainer.save_checkpoint(self.path, weights_only=True)
        finally:
            module.scores = None
        self.score = score

    def _validated(
        self, trainer: pl.Trainer, module: Enhancement, weights: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """Validate other weights with the settings of this launch; return no scores if it has no validation."""
        # There is one number for each validation loader, or none.
        loader, limit = trainer.val_dataloaders, [*trainer.num_val_batches, 0][0]
        if not limit or not isinstance(loader, Iterable):
            return {}
        if trainer.is_global_zero:
            _say(f"{self.path} is validated again with the loss and the data of this launch.")
        # `state_dict` returns the tensors themselves, which loading overwrites.
        own = {name: value.clone() for name, value in module.average.state_dict().items()}
        other = {
            name.removeprefix(_AVERAGE): value
            for name, value in weights.items()
            if name.startswith(_AVERAGE)
        }
        try:
            load(module.average, other)
            module.average.eval()
            context = trainer.precision_plugin.val_step_context()
            with torch.no_grad(), context, united(module.average):
                batches = iter(loader) if limit == float("inf") else islice(loader, int(limit))
                for number, batch in enumerate(batches):
                    module.validation_step(trainer.strategy.batch_to_device(batch), number)
            return module.validation_scores()
        finally:
            load(module.average, own)
            module.average.train()

    def _set_aside(self) -> None:
        """Rename a best.ckpt that was chosen by another metric, since its score cannot be compared."""
        word = "".join(letter if letter.isalnum() else "-" for letter in self.monitor)
        kept = self.path.with_name(f"best-before-{word}.ckpt")
        self.path.replace(kept)
        self._unlike = False
        _say(f"{self.path} has no score for {self.monitor}; it is kept as {kept.name}.")

    def better(self, score: float) -> bool:
        """Return whether a score is a number and better than the best so far."""
        if not math.isfinite(score):
            return False
        if self.score is None or not math.isfinite(self.score):
            return True
        return score < self.score if self.mode == "min" else score > self.score


def measure(config: Mapping[str, Any], data: Any) -> str:
    """Return a hash of all settings, except the weights, that determine the scores of a validation."""
    model, trainer = config["model"], config.get("trainer") or {}
    arguments = (config["data"].get("init_args") or {}).items()
    told: dict[str, Any] = {
        "module": model["class_path"],
        "loss": (model.get("init_args") or {}).get("loss"),
        "data": {name: value for name, value in arguments if name not in _NO_MATTER},
        "trainer": [
            trainer.get(name) for name in ("precision", "limit_val_batches", "overfit_batches")
        ],
    }
    if isinstance(data, MixtureDataModule):
        told["corpora"] = {one.role: one.digest() for one in data.plan("valid").corpora}
    # Sorted keys: a reordered configuration is the same measure.
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)

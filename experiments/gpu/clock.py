"""A training that ends with the clock: its budget of steps follows the speed, so that the cosine ends in time."""

import os
import time
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from experiments.gpu import kernels

UNTIL = "RASED_UNTIL"
"""Environment variable: when the training is to be over, in seconds since 1970."""


class UntilTime(Callback):
    """Sets trainer.max_steps again and again to what will have been done at the time in RASED_UNTIL.

    The last validation lies before that time. Without the variable the budget stays what it is.

    Args:
        every: steps between two estimates.
        settle: seconds at the beginning that tell nothing about the speed.
        tf32: let matrix products of float32 round to TF32.
        compile_norms: compile cumulative norms.
    """

    def __init__(
        self,
        every: int = 10,
        settle: float = 5.0,
        tf32: bool = True,
        compile_norms: bool = False,
    ) -> None:
        self.every, self.settle = every, settle
        self.until = float(os.environ.get(UNTIL, "inf"))
        self._begun = self._validation = self._validation_begun = 0.0
        self._first = 0
        if tf32:
            torch.set_float32_matmul_precision("high")
        if torch.cuda.is_available():
            kernels.apply(compile_norms=compile_norms)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count behind the first steps."""
        self._begun = 0.0
        self._launched = time.time()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time a validation."""
        self._validation_begun = time.time()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As long will the last one take."""
        if not trainer.sanity_checking:
            self._validation = time.time() - self._validation_begun

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any
    ) -> None:
        """Estimate."""
        now, step = time.time(), trainer.global_step
        left = self.until - now - self._validation - 1.0
        if left == float("inf"):
            return
        if not self._begun and now - self._launched > min(self.settle, 0.1 * left):
            self._begun, self._first = now, step
        loop = cast(Any, trainer.fit_loop).epoch_loop
        if left <= 0:
            loop.max_steps = step
        elif self._begun and now > self._begun and step % self.every == 0:
            speed = (step - self._first) / (now - self._begun)
            loop.max_steps = step + max(1, round(speed * left))

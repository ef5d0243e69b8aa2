"""Nothing is lost: a last checkpoint, always whole, from which a run continues with the next batch."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback

from rased.errors import RasedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked the training to stop, and the last checkpoint is written.

    Attributes:
        code: exit code of the process: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the old checkpoint and then takes its place: at any moment there is a whole one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write, flush to the disk, rename.

        Raises:
            RasedError: the disk is full or not writable; the old checkpoint is untouched.
        """
        final = Path(path)
        partial = final.with_name(f".{final.name}.partial")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(final)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            if "DataLoader worker" in str(
                error
            ):  # torch raises it wherever the trainer is when one dies
                raise
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
            raise RasedError(
                f"the checkpoint '{final}' cannot be written: {reason}. The one before it is "
                "untouched: make room, then resume from it."
            ) from error


class KeepLast(Callback):
    """Writes `last.ckpt` every `minutes`, at the end of an epoch, and when a signal asks to stop.

    It is written only where nothing of the step is left to do (no half-accumulated gradient, no
    validation due), and its account of the loops says so in the one way that Lightning continues
    from without repeating or skipping a batch.

    Args:
        folder: where last.ckpt goes.
        minutes: time between two of them within an epoch.
    """

    def __init__(self, folder: str | Path, minutes: float = 10.0) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.minutes = minutes
        self._signal: int | None = None
        self._stop = 0
        self._saved = time.monotonic()
        self._epoch_done = False
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to SIGINT and SIGTERM."""
        self._saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Leave, where the step before was the last; loggers have its numbers only now.

        They count optimiser steps, also behind a restart.
        """
        if self._stop:
            raise Interrupted(self._stop)
        cast(Any, trainer.fit_loop.epoch_loop)._batches_that_stepped = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save where it is time to, or leave where a signal asked to."""
        loop = cast(Any, trainer.fit_loop.epoch_loop)
        due = self._signal is not None or time.monotonic() - self._saved > 60 * self.minutes
        if trainer.world_size > 1:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        work_left = (
            loop._should_accumulate()
            or loop._num_ready_batches_reached()
            or loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
        )
        if due and not work_left:
            self._save(trainer, epoch_done=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save behind the validation; the budget may have ended within the epoch."""
        batches = cast(Any, trainer.fit_loop.epoch_loop).batch_progress.current.processed
        self._save(trainer, epoch_done=batches >= trainer.num_training_batches)
        if self._stop:
            raise Interrupted(self._stop)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back."""
        self._restore_handlers()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back."""
        self._restore_handlers()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Describe the loops as standing exactly between two batches."""
        fit = checkpoint["loops"]["fit_loop"]
        epochs = trainer.current_epoch + self._epoch_done
        batches = fit["epoch_loop.batch_progress"]
        done = 0 if self._epoch_done else batches["current"]["processed"]
        total = batches["total"]["processed"]
        begun = epochs if self._epoch_done else epochs + 1
        for part in ("total", "current"):
            fit["epoch_progress"][part] = _counts(begun, epochs)
        batches["total"], batches["current"] = _counts(total, total), _counts(done, done)
        batches["is_last_batch"] = False
        for part in ("total", "current"):
            fit["epoch_loop.val_loop.batch_progress"][part] = _counts(0, 0)
        checkpoint["epoch"] = epochs

    def _note(self, number: int, frame: Any) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number

    def _save(self, trainer: pl.Trainer, *, epoch_done: bool) -> None:
        self._epoch_done = epoch_done
        trainer.save_checkpoint(self.path)
        self._epoch_done = False
        self._saved = time.monotonic()
        self._stop = self._signal or 0
        if trainer.world_size > 1:
            highest = trainer.strategy.reduce(torch.tensor(self._stop), reduce_op="max")
            self._stop = int(highest)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _counts(begun: int, done: int) -> dict[str, int]:
    return {"ready": begun, "completed": done, "started": begun, "processed": done}

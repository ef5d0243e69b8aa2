"""Save last.ckpt atomically and regularly, so that an interrupted run resumes with the next batch."""

import time
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from rased.disk import replacing
from rased.errors import RasedError, worker_died
from rased.training.optimisation import is_finite
from rased.training.stopping import Interrupted, Signals

LAST = "last.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it, so that a complete one exists at any moment."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write, flush to disk, rename.

        Raises:
            RasedError: the disk is full or not writable; the previous checkpoint is kept.
        """
        final, file = Path(path), _Counted()
        try:
            with replacing(final) as part, part.open("wb") as file.stream:
                torch.save(checkpoint, cast(Any, file))
        except (OSError, RuntimeError) as error:
            # Not a fault of the disk: torch raises it from a signal handler, here by chance.
            if worker_died(error):
                raise
            failure = file.failure or error
            reason = failure.strerror if isinstance(failure, OSError) else str(failure)
            raise RasedError(
                f"the checkpoint '{final}' cannot be written: {str(reason).splitlines()[0]}. The previous one is "
                "kept: free some space, then resume from it."
            ) from error


class _Counted:
    """A file for torch.save that remembers why writing failed (torch's own error does not say).

    Attributes:
        stream: the file.
        failure: the error of the file system.
    """

    stream: Any = None
    failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Write; remember an error of the file system."""
        try:
            return int(self.stream.write(content))
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """Flush the file."""
        self.stream.flush()


class KeepLast(Checkpoint):
    """Writes `last.ckpt` every `minutes`, at the end of an epoch, and when a signal asks to stop.

    It saves only between two steps (no partly accumulated gradient, no pending validation), and sets the
    progress counters so that Lightning resumes without repeating or skipping a batch. It runs after all
    other callbacks, so that their state of an epoch is included.

    Args:
        folder: folder of last.ckpt.
        minutes: time between two saves within an epoch.
        stop_after: steps after which the training stops as if it had received a signal; None: never.
        steps: steps of the checkpoint that this process has found; 0: none.
    """

    def __init__(
        self,
        folder: str | Path,
        minutes: float = 10.0,
        stop_after: int | None = None,
        steps: int = 0,
    ) -> None:
        self.path, self.steps = Path(folder) / LAST, steps
        self.minutes, self.stop_after = minutes, stop_after
        self._signals: Signals | None = None
        self._stop: Interrupted | None = None
        self._saved = time.monotonic()
        self._epoch_done = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that all ranks resume from the same checkpoint, before they load it.

        Raises:
            RasedError: they have found different ones.
        """
        if trainer.world_size == 1:
            return
        found = [0] * trainer.world_size
        torch.distributed.all_gather_object(found, self.steps)
        if len({*found}) > 1:
            raise RasedError(
                f"the processes have found different checkpoints in '{self.path.parent}', of the steps "
                f"{', '.join(str(steps) for steps in sorted({*found}))}: put the folder of the runs (--runs) on a disk "
                "that all nodes share."
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers."""
        loop = cast(Any, trainer.fit_loop.epoch_loop)

        def counts() -> tuple[int, int]:
            return loop.batch_progress.total.ready, loop.val_loop.batch_progress.total.ready

        # With several ranks, all must save together; while gradients accumulate, there is a part of one to lose.
        def at_once() -> bool:
            return trainer.world_size == 1 and not loop._should_accumulate()

        self._saved = time.monotonic()
        self._signals = Signals(at_once, counts)
        self._signals.listen()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop if a signal came in the previous step; the loggers have received its numbers only now.

        The step number for the loggers continues after a restart.
        """
        if self._stop:
            raise self._stop
        # Private, and set in each batch: Lightning adds one when it resumes.
        cast(Any, trainer.fit_loop.epoch_loop)._batches_that_stepped = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save if it is time to, or stop if a signal came."""
        loop = cast(Any, trainer.fit_loop.epoch_loop)
        asked = self._signals is not None and self._signals.number is not None
        asked = asked or (self.stop_after is not None and trainer.global_step >= self.stop_after)
        due = asked or time.monotonic() - self._saved > 60 * self.minutes
        if trainer.world_size > 1:
            # One rank suffices; saving is collective.
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        # Lightning's own questions, so that it does the rest first: a save here would repeat or lose that work.
        work_left = (
            loop._should_accumulate()
            or loop._num_ready_batches_reached()
            or loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
        )
        if due and not work_left:
            self._save(trainer, epoch_done=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the validation; stop if the budget ended in this epoch."""
        batches = cast(Any, trainer.fit_loop.epoch_loop).batch_progress.current.processed
        # An epoch that max_steps cut short is not done: more steps would continue within it.
        self._save(trainer, epoch_done=batches >= trainer.num_training_batches)
        if self._stop:
            raise self._stop

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the signal handlers."""
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save if a signal came between two steps; restore the signal handlers."""
        self._restore()
        if isinstance(exception, Interrupted) and exception.between:
            self._save(trainer, epoch_done=False)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Set the progress counters of the loops to a position exactly between two batches."""
        fit = checkpoint["loops"]["fit_loop"]
        epochs = trainer.current_epoch + self._epoch_done
        batches = fit["epoch_loop.batch_progress"]
        # An epoch that is under way counts as begun but not as completed, which makes Lightning continue it.
        done = 0 if self._epoch_done else batches["current"]["processed"]
        total = batches["total"]["processed"]
        begun = epochs if self._epoch_done else epochs + 1
        for part in ("total", "current"):
            fit["epoch_progress"][part] = _counts(begun, epochs)
        batches["total"], batches["current"] = _counts(total, total), _counts(done, done)
        # Or Lightning would end the epoch at once.
        batches["is_last_batch"] = False
        for part in ("total", "current"):
            fit["epoch_loop.val_loop.batch_progress"][part] = _counts(0, 0)
        checkpoint["epoch"] = epochs

    def _save(self, trainer: pl.Trainer, *, epoch_done: bool) -> None:
        """Write last.ckpt.

        Raises:
            RasedError: the weights are not finite; the previous checkpoint is kept.
        """
        if not is_finite(trainer.lightning_module):
            raise RasedError(
                f"the weights are not finite after step {trainer.global_step}: '{self.path}' is kept unchanged. Lower "
                "model.lr, or train with trainer.precision 32-true, and resume from it."
            )
        self._epoch_done = epoch_done
        trainer.save_checkpoint(self.path)
        self._epoch_done = False
        self._saved = time.monotonic()
        number = (self._signals.number if self._signals else None) or 0
        planned = self.stop_after is not None and trainer.global_step >= self.stop_after
        # The end of the budget is no interruption.
        planned = planned and not trainer.fit_loop.done
        if trainer.world_size > 1:
            # Perhaps the signal reached one rank only; all have to stop.
            highest = trainer.strategy.reduce(torch.tensor(number), reduce_op="max")
            number = int(highest)
        if number or planned:
            self._stop = Interrupted(number)

    def _restore(self) -> None:
        if self._signals is not None:
            self._signals.restore()


def rank_lost(error: BaseException) -> bool:
    """Return whether an error says that another rank has ended or cannot be reached."""
    if isinstance(error, torch.distributed.DistError):
        return True
    # Gloo raises plain errors that name its source file.
    return isinstance(error, RuntimeError) and "gloo" in str(error).lower()


def _counts(begun: int, done: int) -> dict[str, int]:
    return {"ready": begun, "completed": done, "started": begun, "processed": done}

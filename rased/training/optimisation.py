"""The budget of steps that schedules follow, and the moving average of the weights."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from rased.errors import RasedError
from rased.training.divided import whole


@dataclass(frozen=True)
class Budget:
    """Progress of a training in steps. A step updates every player once, with any number of optimisers.

    Attributes:
        done: steps done of the budget that ends first.
        total: steps in that budget.
        step: steps done in total.
        epoch: epochs done.
    """

    done: int
    total: int
    step: int = 0
    epoch: int = 0


def budget(trainer: pl.Trainer) -> Budget:
    """Return the budget that ends first: trainer.max_steps, or trainer.max_epochs times the steps of an epoch.

    A time limit (trainer.max_time) is not a budget: it only stops early. If a run continues with another batch
    size, an epoch has the number of steps of the current batch size.

    Raises:
        RasedError: neither is set.
    """
    found = []
    step, epoch = trainer.global_step, trainer.current_epoch
    if trainer.max_steps > 0:
        found.append(Budget(step, trainer.max_steps, step, epoch))
    batches = trainer.num_training_batches
    # num_training_batches is infinite for a loader without length.
    if trainer.max_epochs is not None and trainer.max_epochs > 0 and math.isfinite(batches):
        every = trainer.accumulate_grad_batches
        # Lightning steps after the last batch of an epoch, too, with what has been accumulated.
        per_epoch = math.ceil(batches / every)
        progress = cast(Any, trainer.fit_loop.epoch_loop).batch_progress.current
        done = epoch * per_epoch + progress.processed // every
        found.append(Budget(done, per_epoch * trainer.max_epochs, step, epoch))
    if not found:
        raise RasedError(
            "the training has no budget of steps, which the learning rate schedule needs: set trainer.max_steps"
            + (
                " (the data module does not report how many batches an epoch has)."
                if (trainer.max_epochs or 0) > 0
                else " or trainer.max_epochs (trainer.max_time only stops early)."
            )
        )
    # The one with the fewest steps left.
    return min(found, key=lambda one: one.total - one.done)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the parameters of `average` towards those of `model` by a share of 1 - decay; copy the buffers."""
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(model.parameters())
    if ours:
        torch._foreach_lerp_(ours, theirs, 1 - decay)
    for buffer, source in zip(average.buffers(), model.buffers(), strict=True):
        buffer.copy_(source)


@torch.no_grad()
def undo_buffers(model: nn.Module, before: Iterable[Tensor]) -> None:
    """Restore the buffers of `model` that are not finite to their values before the step."""
    for buffer, kept in zip(model.buffers(), before, strict=True):
        if buffer.is_floating_point() and not bool(buffer.isfinite().all()):
            buffer.copy_(kept)


@torch.no_grad()
def is_finite(module: nn.Module) -> bool:
    """Return whether all weights and statistics of a module are finite."""
    tensors = [item for item in module.state_dict().values() if isinstance(item, Tensor)]
    # Collected on the device and read once: each `bool` would wait for the GPU.
    flags = [whole(item.isfinite().all()) for item in tensors if item.is_floating_point()]
    return not flags or bool(torch.stack(flags).all())

"""How weights move: one budget of steps that schedules follow, and the moving average."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from rased.errors import RasedError


@dataclass(frozen=True)
class Budget:
    """Where a training stands, in steps: a step is what moves every player once, however many optimisers that takes.

    Attributes:
        done: steps done of the budget that runs out first.
        total: steps in that budget.
        step: steps done in all.
        epoch: epochs done.
    """

    done: int
    total: int
    step: int = 0
    epoch: int = 0


def budget(trainer: pl.Trainer) -> Budget:
    """The budget that runs out first: trainer.max_steps, or trainer.max_epochs times the steps of an epoch.

    The clock (trainer.max_time) is no budget: it only stops early. Where a run continues with batches of another
    size, an epoch counts by the steps that it has now.

    Raises:
        RasedError: there is neither.
    """
    found = []
    step, epoch = trainer.global_step, trainer.current_epoch
    if trainer.max_steps > 0:
        found.append(Budget(step, trainer.max_steps, step, epoch))
    batches = trainer.num_training_batches
    if trainer.max_epochs is not None and trainer.max_epochs > 0 and math.isfinite(batches):
        every = trainer.accumulate_grad_batches
        per_epoch = math.ceil(batches / every)
        progress = cast(Any, trainer.fit_loop.epoch_loop).batch_progress.current
        done = epoch * per_epoch + progress.processed // every
        found.append(Budget(done, per_epoch * trainer.max_epochs, step, epoch))
    if not found:
        raise RasedError(
            "the training has no budget of steps, which its learning rate follows: set trainer.max_steps"
            + (
                " (the data do not say how many batches an epoch has)."
                if (trainer.max_epochs or 0) > 0
                else " or trainer.max_epochs (trainer.max_time only stops early)."
            )
        )
    return min(found, key=lambda one: one.total - one.done)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the parameters of `average` by 1 - decay towards those of `model`; copy its buffers."""
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(model.parameters())
    if ours:
        torch._foreach_lerp_(ours, theirs, 1 - decay)
    for buffer, source in zip(average.buffers(), model.buffers(), strict=True):
        buffer.copy_(source)


@torch.no_grad()
def undo_buffers(model: nn.Module, before: Iterable[Tensor]) -> None:
    """Give buffers of `model` that are not finite the values that they had after the last step."""
    for buffer, kept in zip(model.buffers(), before, strict=True):
        if buffer.is_floating_point() and not bool(buffer.isfinite().all()):
            buffer.copy_(kept)


@torch.no_grad()
def is_finite(module: nn.Module) -> bool:
    """Whether all weights and statistics of a module are finite numbers."""
    tensors = [item for item in module.state_dict().values() if isinstance(item, Tensor)]
    flags = [item.isfinite().all() for item in tensors if item.is_floating_point()]
    return not flags or bool(torch.stack(flags).all())

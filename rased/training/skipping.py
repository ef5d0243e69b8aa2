"""Skip and count steps whose gradient is not finite, and stop the run if there are too many."""

import sys
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rased.errors import RasedError
from rased.training.divided import whole
from rased.training.optimisation import undo_buffers

MOST_SKIPPED = 20
"""Limits of skipped steps: consecutive ones; and this many in total, or a share of all steps if that is more."""
MOST_SKIPPED_SHARE = 0.05
_TOLD = 5
"""Number of skipped steps that are reported on stderr; all are counted."""


class Skipping:
    """Counts skipped steps. A step counts once, however many players were skipped in it.

    Attributes:
        now: whether the current step is skipped for at least one player.
        total: number of skipped steps.
        in_row: number of consecutive skipped steps up to the last step.
    """

    def __init__(self) -> None:
        self.now = False
        self.total = self.in_row = 0
        self._kept: list[tuple[nn.Module, list[Tensor]]] = []
        self._held: list[nn.Module] = []

    def begin(self, modules: Iterable[nn.Module]) -> None:
        """Start a step: remember the buffers of modules that have no average to restore them from."""
        self.now, self._held = False, []
        self._kept = [
            (module, [buffer.clone() for buffer in module.buffers()])
            for module in modules
            if next(module.buffers(), None) is not None
        ]

    def end(self) -> None:
        """Finish a step."""
        if not self.now:
            self.in_row = 0

    def skip(self, module: nn.Module) -> bool:
        """Clear the gradients of a module, so that it is not updated; return whether it is the first in this step."""
        for item in module.parameters():
            # Optimisers leave parameters without a gradient alone; a gradient of 0 would still decay and move them.
            item.grad = None
        # The forward pass may have spoilt running statistics.
        for other, buffers in self._kept:
            undo_buffers(other, buffers)
        self._held.append(module)
        first, self.now = not self.now, True
        self.total += first
        self.in_row += first
        return first

    def holds(self, module: nn.Module) -> bool:
        """Return whether a module, or one that contains it, is skipped in this step."""
        return any(part is module for held in self._held for part in held.modules())

    def tell(self, step: int, run: str, *, aloud: bool) -> None:
        """Report a skipped step, and how to write its batch to disk.

        Raises:
            RasedError: too many steps were skipped.
        """
        hear = f"`rased replay {run} --step {step}` writes its batch"
        if self.total <= _TOLD and aloud:
            print(f"step {step} is skipped: its gradient is not finite; {hear}.", file=sys.stderr)
        if self.in_row > MOST_SKIPPED or (
            self.total > MOST_SKIPPED and self.total > MOST_SKIPPED_SHARE * step
        ):
            raise RasedError(
                f"the gradient is not finite in step {step}, nor in {self.total - 1} earlier steps "
                f"({self.in_row - 1} of them directly before): lower model.lr, or train with trainer.precision "
                f"32-true, and resume from the last checkpoint, whose weights are finite; {hear}."
            )


def gradient_norm(module: nn.Module) -> Tensor:
    """Return the norm of the gradient over all parameters that have one.

    Raises:
        RasedError: no parameter has a gradient.
    """
    gradients = [item.grad for item in module.parameters() if item.grad is not None]
    if not gradients:
        raise RasedError(
            f"the loss does not depend on any parameter of {type(module).__name__}: check what losses() returns for it."
        )
    # The norm of the norms is the norm of all; _foreach avoids a kernel for each parameter.
    return whole(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))

"""Steps whose gradient is not finite: they move nothing, are counted, and stop the run where there are too many."""

import sys
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rased.errors import RasedError
from rased.training.optimisation import undo_buffers

MOST_SKIPPED = 20
"""Steps in a row whose gradient may be not finite; and this many in all, up to a share of all steps."""
MOST_SKIPPED_SHARE = 0.05
_TOLD = 5
"""Skipped steps that are told on stderr; all are counted."""


class Skipping:
    """Counts skipped steps; a step counts once, however many players could not move in it.

    Attributes:
        now: whether the running step is skipped, for one player at least.
        total: skipped steps.
        in_row: skipped steps up to the last one.
    """

    def __init__(self) -> None:
        self.now = False
        self.total = self.in_row = 0
        self._kept: list[tuple[nn.Module, list[Tensor]]] = []
        self._held: list[nn.Module] = []

    def begin(self, modules: Iterable[nn.Module]) -> None:
        """Begin a step: keep the buffers of modules without an average."""
        self.now, self._held = False, []
        self._kept = [
            (module, [buffer.clone() for buffer in module.buffers()])
            for module in modules
            if next(module.buffers(), None) is not None
        ]

    def end(self) -> None:
        """End a step."""
        if not self.now:
            self.in_row = 0

    def skip(self, module: nn.Module) -> bool:
        """Leave a module as it is: without gradients its optimiser does nothing. Whether this is the first one."""
        for item in module.parameters():
            item.grad = None
        for other, buffers in self._kept:
            undo_buffers(other, buffers)
        self._held.append(module)
        first, self.now = not self.now, True
        self.total += first
        self.in_row += first
        return first

    def holds(self, module: nn.Module) -> bool:
        """Whether a module, or what it is a part of, stays as it is in this step."""
        return any(part is module for held in self._held for part in held.modules())

    def tell(self, step: int, run: str, *, aloud: bool) -> None:
        """Say that a step is skipped, and where its batch can be heard.

        Raises:
            RasedError: too many steps are skipped.
        """
        hear = f"`rased replay {run} --step {step}` writes its batch"
        if self.total <= _TOLD and aloud:
            print(f"step {step} is skipped: its gradient is not finite; {hear}.", file=sys.stderr)
        if self.in_row > MOST_SKIPPED or (
            self.total > MOST_SKIPPED and self.total > MOST_SKIPPED_SHARE * step
        ):
            raise RasedError(
                f"the gradient is not finite in step {step}, nor in {self.total - 1} steps before it "
                f"({self.in_row - 1} of them just before): lower model.lr, or train with trainer.precision "
                f"32-true, from the last checkpoint, whose weights are finite; {hear}."
            )


def gradient_norm(module: nn.Module) -> Tensor:
    """Length of the gradient of all parameters that have one.

    Raises:
        RasedError: none has.
    """
    gradients = [item.grad for item in module.parameters() if item.grad is not None]
    if not gradients:
        raise RasedError(
            f"the loss does not depend on any parameter of {type(module).__name__}: check what losses() gives for it."
        )
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))

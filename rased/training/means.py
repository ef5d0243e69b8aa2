"""Means over all items of a validation and all ranks, by name."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from rased.errors import RasedError


class Means:
    """Collects scores by name; a batch may give names that no other gives."""

    def __init__(self) -> None:
        self._metrics: dict[str, MeanMetric] = {}

    def update(self, scores: Mapping[str, Tensor], rows: int) -> None:
        """Add one number for a batch of so many rows, or one for each row, by name.

        Raises:
            RasedError: a score is neither.
        """
        for name, value in scores.items():
            if value.shape not in ((), (rows,)):
                raise RasedError(
                    f"validate() gave the shape {tuple(value.shape)} as '{name}' for a batch of {rows}: give one "
                    "number, or one a row."
                )
            if name not in self._metrics:
                self._metrics[name] = MeanMetric(nan_strategy="disable").to(value.device)
            self._metrics[name].update(value, weight=1.0 if value.ndim else rows)

    def compute(self, *, world_size: int, device: torch.device) -> dict[str, float]:
        """The means over all ranks, in the order in which their names came; they are forgotten then."""
        names = [*self._metrics]
        if world_size > 1:
            found: list[list[str]] = [[]] * world_size
            torch.distributed.all_gather_object(found, names)
            names = [*dict.fromkeys(name for one in found for name in one)]
        for name in names:
            if name not in self._metrics:  # all ranks must take part in every mean
                self._metrics[name] = MeanMetric(nan_strategy="disable").to(device)
                self._metrics[name].update(0.0, weight=0.0)
        means = {name: float(self._metrics[name].compute()) for name in names}
        self._metrics = {}
        return means

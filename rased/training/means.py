"""Average validation scores over all items and ranks, by name."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from rased.errors import RasedError


class Means:
    """Collects scores by name; batches may have different names."""

    def __init__(self) -> None:
        self._metrics: dict[str, MeanMetric] = {}

    def update(self, scores: Mapping[str, Tensor], rows: int) -> None:
        """Add the scores of a batch of `rows` items: one number for the batch or one per row, by name.

        Raises:
            RasedError: a score has another shape.
        """
        for name, value in scores.items():
            if value.shape not in ((), (rows,)):
                raise RasedError(
                    f"validate() returned the shape {tuple(value.shape)} for '{name}' in a batch of {rows}: return one "
                    "number, or one per row."
                )
            if name not in self._metrics:
                self._metrics[name] = MeanMetric(nan_strategy="disable").to(value.device)
            # A mean over the batch stands for all its items.
            self._metrics[name].update(value, weight=1.0 if value.ndim else rows)

    def compute(self, *, world_size: int, device: torch.device) -> dict[str, float]:
        """Return the means over all ranks, in the order in which the names first appeared, and reset them."""
        names = [*self._metrics]
        if world_size > 1:
            # A rank without readable items has seen no name.
            found: list[list[str]] = [[]] * world_size
            torch.distributed.all_gather_object(found, names)
            names = [*dict.fromkeys(name for one in found for name in one)]
        for name in names:
            # Every rank must take part in the reduction of every mean.
            if name not in self._metrics:
                self._metrics[name] = MeanMetric(nan_strategy="disable").to(device)
                # A weight of 0 leaves the mean unchanged.
                self._metrics[name].update(0.0, weight=0.0)
        means = {name: float(self._metrics[name].compute()) for name in names}
        self._metrics = {}
        return means

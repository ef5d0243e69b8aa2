"""Count samples that could not be read, and stop a run with too many of them."""

from collections import Counter
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from rased.data.mixtures.sample import Batch
from rased.errors import RasedError

TOGETHER = 16
"""Number of batches after which several ranks add up their unreadable samples."""
_FEW = 10
"""Number of unreadable samples that never stop a run."""


class Unreadable:
    """Counts samples that could not be read.

    Attributes:
        skipped: a sentence for each sample, and how often it was tried.
    """

    def __init__(self, most: float) -> None:
        """Set the share above which the run stops.

        Raises:
            RasedError: it is not between 0 and 1.
        """
        if not 0 <= most <= 1:
            raise RasedError(f"max_bad_share is {most}; it must be between 0 and 1.")
        self.most = most
        self.skipped: Counter[str] = Counter()
        self._seen = self._batches = 0

    def count(self, batch: Batch, trainer: pl.Trainer | None) -> None:
        """Count a batch, regularly summed over all ranks, so that either all of them stop or none.

        Raises:
            RasedError: there are too many.
        """
        self.skipped.update(batch["skipped"])
        self._seen += len(batch["key"]) + len(batch["skipped"])
        self._batches += 1
        bad, seen = self.skipped.total(), self._seen
        if trainer is not None and trainer.world_size > 1:
            # A reduction for every batch would make all ranks wait for each other.
            if self._batches % TOGETHER:
                return
            both = torch.tensor([bad, seen], device=trainer.strategy.root_device)
            bad, seen = cast(Tensor, trainer.strategy.reduce(both, reduce_op="sum")).tolist()
        # A few bad samples never stop a run: at the beginning, one of them is a large share.
        if bad > max(_FEW, self.most * seen):
            listed = "\n  ".join(list(self.skipped)[:3]) or "(on other ranks)"
            raise RasedError(
                f"{bad} of {seen} samples ({100 * bad / seen:.1f} %) could not be read, more than "
                f"max_bad_share {self.most} allows; the first:\n  {listed}"
            )

"""The whole data path from an order to batches, in one place."""

from functools import partial
from typing import cast

from torch.utils.data import IterableDataset
from webdataset import DataPipeline

from rased.data.mixtures import stages
from rased.data.mixtures.plan import Plan
from rased.data.mixtures.sample import Batch


def stream(
    plan: Plan,
    *,
    epoch: int,
    position: int = 0,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
) -> IterableDataset[Batch]:
    """Return an IterableDataset of the batches of one rank, from a position to the end of the epoch, for any workers.

    Args:
        plan: sources, and how to draw from them.
        epoch: number of the epoch; -1 is the fixed epoch of validation.
        position: samples of the epoch that all ranks together have used.
        batch_size: samples per rank and step.
        rank: rank of this process.
        world_size: number of processes that share the epoch.
    """
    pipeline = DataPipeline(
        partial(
            stages.spans,
            position=position,
            count=plan.count,
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
        ),
        partial(stages.draw, plan=plan, epoch=epoch),
        partial(stages.fetch, plan=plan),
        partial(stages.collate, plan=plan),
    )
    return cast(IterableDataset[Batch], pipeline)

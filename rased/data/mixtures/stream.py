"""The whole data path up to the device, on one screen."""

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
    """The batches of one rank from a position in an epoch to its end: an IterableDataset for any number of workers.

    Args:
        plan: what to draw from, and how.
        epoch: number of the epoch; -1 is the fixed one of validation.
        position: samples of the epoch that all ranks together have consumed.
        batch_size: samples per rank and step.
        rank: this process among world_size.
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

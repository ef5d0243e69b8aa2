"""Which program started the processes of a training: torchrun, Slurm, another scheduler, or Lightning itself."""

import os
from dataclasses import dataclass

from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.utilities.rank_zero import rank_zero_only

_RANKS = ("RANK", "JSM_NAMESPACE_RANK", "NODE_RANK", "GROUP_RANK")
"""Variables of other schedulers. Where a scheduler starts one process per node, its number is that of the node."""


class Elastic(TorchElasticEnvironment):
    """torchrun, also with nodes that have different numbers of processes."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept every layout: torchrun has numbered the processes."""


@dataclass(frozen=True)
class Cluster:
    """A launcher that starts all processes, and starts them again after a failure: torchrun or Slurm.

    Attributes:
        environment: how Lightning learns ranks and addresses.
        devices: processes on this node, one for each device.
        nodes: number of nodes.
    """

    environment: ClusterEnvironment
    devices: int
    nodes: int

    @property
    def several(self) -> bool:
        """Return whether other processes may take part, now or after a restart."""
        return isinstance(self.environment, Elastic) or self.environment.world_size() > 1


def cluster() -> Cluster | None:
    """Return the launcher of this process; None if it was started alone, or by another program."""
    # In this order, because torchrun also runs inside a job of Slurm.
    if TorchElasticEnvironment.detect():
        return Cluster(Elastic(), _number("LOCAL_WORLD_SIZE"), _number("GROUP_WORLD_SIZE"))
    if SLURMEnvironment.detect():
        tasks, nodes = _number("SLURM_NTASKS"), _number("SLURM_NNODES")
        # The job script puts the job back into the queue, and last.ckpt is the checkpoint to resume from.
        environment = SLURMEnvironment(auto_requeue=False)
        return Cluster(environment, _number("SLURM_NTASKS_PER_NODE", tasks // nodes), nodes)
    return None


def rank() -> int:
    """Return the number of this process among all, before Lightning knows it; 0 for the one that writes the run.

    It is set in Lightning, too, so that nothing else writes before the trainer is built.
    """
    found = cluster()
    if found is not None:
        number = found.environment.global_rank()
    else:
        number = next((_number(name) for name in _RANKS if os.environ.get(name)), 0)
    if number:
        vars(rank_zero_only)["rank"] = number
    return number


def _number(name: str, default: int = 1) -> int:
    return int(os.environ.get(name) or default)

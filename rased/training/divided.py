"""Tensors of which each rank may hold a part: put them together, or take this rank's part."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(value: Tensor) -> Tensor:
    """Return a tensor with the parts of all ranks, which all take part; an undivided one unchanged."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def local(value: Tensor) -> Tensor:
    """Return this rank's part of a tensor, without the other ranks; an undivided one unchanged."""
    return value.to_local() if isinstance(value, DTensor) else value


def is_divided(module: nn.Module) -> bool:
    """Return whether each rank holds a part of the weights of a module."""
    return any(isinstance(item, DTensor) for item in module.parameters())


def part(value: Tensor, *, like: Tensor) -> Tensor:
    """Return this rank's part of a tensor, if a tensor of the same shape is divided; else the tensor itself."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor) or value.shape != like.shape:
        return value
    on_device = value.to(like.device, like.dtype)
    # None: every rank holds the whole tensor, so nothing is sent.
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


def load(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load whole weights into a module whose own may be divided."""
    own = module.state_dict()
    module.load_state_dict({name: part(item, like=own[name]) for name, item in weights.items()})


def unite(module: nn.Module) -> bool:
    """Put the parts together on every rank, which all take part, until `divide`; return whether there are parts.

    In between, each rank may run the module without the others.
    """
    found = is_divided(module)
    if found:
        cast(Any, module).unshard()
    return found


def divide(module: nn.Module) -> None:
    """Keep this rank's part alone, after `unite`."""
    cast(Any, module).reshard()


@contextmanager
def united(module: nn.Module) -> Iterator[None]:
    """Unite a module while the block runs; nothing happens to a module that is not divided."""
    parts = unite(module)
    try:
        yield
    finally:
        if parts:
            divide(module)

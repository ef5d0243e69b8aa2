"""The step of a causal enhancer as a module, the states that it can be in, and what keeps it from a graph."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.models.base import Enhancer, State
from rased.zoo.exported import Exported

Chunk = Float[Tensor, "streams chunk"]


class Step(nn.Module):
    """`Enhancer.step` as the forward pass of a module."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.enhancer = enhancer

    def forward(self, chunk: Chunk, state: State) -> tuple[Chunk, State]:
        """Enhance a chunk."""
        return self.enhancer.step(chunk, state)


class Together(Step):
    """The step of several streams: the tensors of their states are stacked, one stream after the other.

    Args:
        enhancer: a causal enhancer.
        streams: their number.
    """

    def __init__(self, enhancer: Enhancer, streams: int) -> None:
        super().__init__(enhancer)
        self.streams = streams
        one, two = (enhancer.initial_state(batch) for batch in (1, 2))
        # The axis of a tensor that is longer for two rows: some have layers in front, or rows and bands in one axis.
        self.axes = {
            name: next(axis for axis, size in enumerate(one[name].shape) if size != sizes[axis])
            for name, sizes in ((name, tensor.shape) for name, tensor in two.items())
        }

    def forward(self, chunk: Chunk, state: State) -> tuple[Chunk, State]:
        """Enhance a chunk of each stream."""
        rows = {
            name: tensor.movedim(0, self.axes[name]).flatten(self.axes[name], self.axes[name] + 1)
            for name, tensor in state.items()
        }
        estimate, after = self.enhancer.step(chunk, rows)
        return estimate, {
            name: tensor.unflatten(self.axes[name], (self.streams, -1)).movedim(self.axes[name], 0)
            for name, tensor in after.items()
        }


def stacked(states: list[State]) -> State:
    """Return the states of several streams as one; that of one stream stays as it is."""
    if len(states) == 1:
        return states[0]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def refuse(enhancer: Enhancer, name: str) -> None:
    """Check that a graph of one chunk can do all that the enhancer does.

    Raises:
        RasedError: it cannot, with the reason.
    """
    if isinstance(enhancer, Exported):
        raise RasedError(
            f"'{name}' cannot be exported: it is an exported graph. Export the checkpoint that it was made from."
        )
    if not enhancer.causal:
        raise RasedError(
            f"'{name}' cannot be exported: it needs the whole recording, and a graph gets one chunk at a time. "
            "Choose a causal checkpoint (`rased zoo list`)."
        )
    if enhancer.conditions:
        raise RasedError(
            f"'{name}' cannot be exported: besides the waveform it needs {', '.join(enhancer.conditions)}, which no "
            "input of the graph carries."
        )
    if enhancer.channels > 1:
        raise RasedError(
            f"'{name}' cannot be exported: it takes {enhancer.channels} microphones, and the graph has one input."
        )


def starts(state: State) -> dict[str, dict[str, Any]]:
    """Return shape and first value of each tensor of a state; values that differ are listed.

    JSON has no infinity: it is written as the word that JavaScript and Python read as a number.
    """
    found = {}
    for name, tensor in state.items():
        values = [_word(value) for value in tensor.flatten().tolist()]
        found[name] = {
            "shape": list(tensor.shape),
            "start": values[0] if len(set(values)) == 1 else values,
        }
    return found


def _word(value: float) -> float | str:
    if np.isfinite(value):
        return float(value)
    assert not np.isnan(value), "a state cannot begin with NaN"
    return "Infinity" if value > 0 else "-Infinity"


@torch.no_grad()
def random_state(enhancer: Enhancer, seed: int) -> State:
    """Return a state that sound has led to, every number of it then scaled and shifted at random."""
    assert enhancer.chunk_length is not None
    generator = torch.Generator().manual_seed(seed)
    heard = 0.1 * torch.randn(1, 8 * enhancer.chunk_length, generator=generator)
    _, state = enhancer.step(heard, enhancer.initial_state())
    return {
        name: tensor * (0.5 + torch.rand(tensor.shape, generator=generator))
        + 0.1 * torch.rand(tensor.shape, generator=generator)
        for name, tensor in state.items()
    }

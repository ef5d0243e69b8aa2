"""Recurrent layers, also split into independent groups, with named state."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.signal.state import State, numbered, parted


class GroupedRecurrent(nn.Module):
    """Splits the features into neighbouring groups, each with its own recurrent layer.

    Gao et al., "Efficient sequence learning with group recurrent networks", NAACL 2018: a layer of
    G groups has 1 / G of the weights. The layers in between have to mix the groups.

    Args:
        kind: the recurrent cell.
        inputs: features of a frame, over all groups.
        hidden: outputs of a frame, over all groups and (if bidirectional) both directions.
        groups: number of groups.
        bidirectional: also read the sequence backwards.
    """

    def __init__(
        self,
        kind: Literal["gru", "lstm"],
        inputs: int,
        hidden: int,
        *,
        groups: int = 2,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        layer = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
        size = hidden // groups // (2 if bidirectional else 1)  # of each group and direction
        self.cells = nn.ModuleList(
            layer(inputs // groups, size, batch_first=True, bidirectional=bidirectional)
            for _ in range(groups)
        )

    def forward(
        self, sequence: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames hidden"], State]:
        """Process a sequence; `state` has a part for each group, and is empty at the start of a stream."""
        if torch.compiler.is_exporting():
            return self._as_one(sequence, state)
        states, outputs, after = parted(state), [], []
        parts = sequence.chunk(len(self.cells), dim=-1)
        for index, (cell, part) in enumerate(zip(self.cells, parts, strict=True)):
            output, remembered = recur(cell, part, states[str(index)])
            outputs.append(output)
            after.append(remembered)
        return torch.cat(outputs, dim=-1), numbered(after)

    def _as_one(
        self, sequence: Float[Tensor, "batch frames inputs"], state: State
    ) -> tuple[Float[Tensor, "batch frames hidden"], State]:
        """Run all groups as one layer, whose matrices have zeros between the groups.

        A runtime then walks through the sequence once. PyTorch multiplies the zeros, too, so that it gains nothing.
        """
        cells, lstm = list(self.cells), isinstance(self.cells[0], nn.LSTM)
        twice = bool(self.cells[0].bidirectional)
        suffixes = ("_l0", "_l0_reverse") if twice else ("_l0",)
        weights = [
            _blocks([getattr(cell, f"{name}{suffix}") for cell in cells], gates=4 if lstm else 3)
            for suffix in suffixes
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        states = state or numbered(silence(cell, len(sequence), sequence) for cell in cells)
        parts = parted(states)
        names = ("hidden", "cell") if lstm else ("hidden",)
        start = [
            torch.cat([parts[str(index)][name] for index in range(len(cells))], dim=-1)
            for name in names
        ]
        run = torch.lstm if lstm else torch.gru
        given = start if lstm else start[0]
        settings = (
            True,
            1,
            0.0,
            False,
            twice,
            True,
        )  # biases, layers, dropout, training, directions, batch first
        outputs, *ends = run(sequence, given, weights, *settings)  # type: ignore[arg-type]
        if twice:
            outputs = rearrange(
                outputs, "n t (way group h) -> n t (group way h)", way=2, group=len(cells)
            )
        if not state:
            return outputs, {}
        split = [end.chunk(len(cells), dim=-1) for end in ends]
        return outputs, numbered(
            dict(zip(names, (one.contiguous() for one in of_cell), strict=True))
            for of_cell in zip(*split, strict=True)
        )

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Return zeros for every group (one direction)."""
        return numbered(silence(cell, batch, like) for cell in self.cells)


def _blocks(parts: list[Tensor], *, gates: int) -> Tensor:
    """Return the matrices of several cells as one, or their biases, gate by gate."""
    by_gate = zip(*(part.chunk(gates) for part in parts), strict=True)
    if parts[0].ndim == 1:
        return torch.cat([torch.cat(of_gate) for of_gate in by_gate])
    return torch.cat([torch.block_diag(*of_gate) for of_gate in by_gate])


class GroupedLinear(nn.Module):
    """Neighbouring groups of the features through matrices of their own, without biases."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, inputs // groups, outputs // groups))
        bound = (inputs // groups) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"]
    ) -> Float[Tensor, "batch frames outputs"]:
        """Compute all groups in one product."""
        parts = rearrange(frames, "n t (group i) -> group (n t) i", group=len(self.weight))
        return rearrange(parts @ self.weight, "group (n t) o -> n t (group o)", n=frames.shape[0])


def recur(
    layer: nn.Module, sequence: Float[Tensor, "batch frames inputs"], state: State
) -> tuple[Float[Tensor, "batch frames hidden"], State]:
    """Run a GRU or LSTM with its state as a dictionary; an empty one stands for zeros."""
    with full_precision(sequence):
        # Layers before this one may have made it narrow.
        sequence = sequence.float() if sequence.is_cuda else sequence
        if not state:
            # Nothing to go on from: a sequence within a frame, or a whole utterance.
            return layer(sequence)[0], {}
        if "cell" in state:
            outputs, (hidden, cell) = layer(sequence, (state["hidden"], state["cell"]))
            return outputs, {"hidden": hidden, "cell": cell}
        outputs, hidden = layer(sequence, state["hidden"])
        return outputs, {"hidden": hidden}


def full_precision(sequence: Tensor) -> AbstractContextManager[object]:
    """Return a context in which a recurrent layer on CUDA runs in float32, also under autocast.

    PyTorch runs cuDNN's recurrent layers in float16 for any autocast type, including bfloat16. Without loss scaling,
    small gradients underflow to zero in float16.
    """
    return torch.autocast("cuda", enabled=False) if sequence.is_cuda else nullcontext()


def silence(layer: nn.Module, batch: int, like: Tensor) -> State:
    """Return the zero state of a GRU or LSTM: `hidden` (layers, batch, size), and `cell` of an LSTM."""
    assert isinstance(layer, nn.RNNBase)
    # One row for each layer and direction.
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    names = ("hidden", "cell") if isinstance(layer, nn.LSTM) else ("hidden",)
    return {name: like.new_zeros(rows, batch, layer.hidden_size) for name in names}

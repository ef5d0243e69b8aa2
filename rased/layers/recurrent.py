"""Recurrent layers cut into groups that do not see each other."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

State = Any


class GroupedRecurrent(nn.Module):
    """Neighbouring groups of the features through recurrent layers of their own.

    Gao et al., "Efficient sequence learning with group recurrent networks", NAACL 2018: a layer of
    G groups has 1 / G of the weights. Mixing the groups is left to what stands between such layers.

    Args:
        kind: the recurrent cell.
        inputs: features of a frame, over all groups.
        hidden: outputs of a frame, over all groups and (where bidirectional) both directions.
        groups: number of groups.
        bidirectional: whether the sequence is also read backwards.
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
        self.kind = kind
        self.size = hidden // groups // (2 if bidirectional else 1)
        self.cells = nn.ModuleList(
            layer(inputs // groups, self.size, batch_first=True, bidirectional=bidirectional)
            for _ in range(groups)
        )

    def forward(
        self, sequence: Float[Tensor, "batch frames inputs"], state: State = None
    ) -> tuple[Float[Tensor, "batch frames hidden"], State]:
        """One pass; `state` has one entry a group, None for silence before the first frame."""
        states = [None] * len(self.cells) if state is None else state
        parts = sequence.chunk(len(self.cells), dim=-1)
        pairs = [cell(*pair) for cell, *pair in zip(self.cells, parts, states, strict=True)]
        outputs, states = zip(*pairs, strict=True)
        return torch.cat(outputs, dim=-1), states

    def initial_state(self, batch: int, like: Tensor) -> State:
        """Zeros for every group (one direction)."""
        zeros = like.new_zeros(1, batch, self.size)
        if self.kind == "lstm":
            return tuple((zeros, zeros) for _ in self.cells)
        return tuple(zeros for _ in self.cells)

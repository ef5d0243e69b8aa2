"""Layers with states, one behind the other."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from rased.signal.state import State, numbered, parted


class Stack(nn.ModuleList):
    """Layers that take (features, state) and give both; the state of the stack has a part for each, by its number."""

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Run all modules in turn."""
        parts, after = parted(state), []
        for index, layer in enumerate(self):
            features, memory = layer(features, parts[str(index)])
            after.append(memory)
        return features, numbered(after)

    def initial_state(self, *arguments: Any) -> State:
        """Return the initial states of all modules."""
        layers: Iterable[Any] = self
        return numbered(layer.initial_state(*arguments) for layer in layers)

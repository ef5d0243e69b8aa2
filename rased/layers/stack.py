"""A sequence of layers with states."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from rased.signal.state import State, numbered, parted


class Stack(nn.ModuleList):
    """Layers that map (features, state) to both; the state of the stack has a numbered part for each layer."""

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

"""Layers with states in a row: one after the other, with skip connections, and their initial states."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from rased.signal.state import State, numbered, parted


class Stack(nn.ModuleList):
    """Layers that map (features, state) to both; the state of the stack has a numbered part for each layer."""

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Run all layers in turn."""
        parts, after = parted(state), []
        for index, layer in enumerate(self):
            features, memory = layer(features, parts[str(index)])
            after.append(memory)
        return features, numbered(after)

    def encode(self, features: Tensor, state: State) -> tuple[list[Tensor], State]:
        """Run all layers in turn, and return the outputs of all of them: the skip connections of an encoder."""
        outputs, parts, after = [], parted(state), []
        for index, layer in enumerate(self):
            features, memory = layer(features, parts[str(index)])
            outputs.append(features)
            after.append(memory)
        return outputs, numbered(after)

    def decode(
        self, features: Tensor, skips: Sequence[Tensor], state: State
    ) -> tuple[Tensor, State]:
        """Run all layers in turn, each on the features and one skip connection, the last of `skips` first."""
        parts, after = parted(state), []
        for index, (layer, skip) in enumerate(zip(self, reversed(skips), strict=True)):
            features, memory = layer(features, skip, parts[str(index)])
            after.append(memory)
        return features, numbered(after)

    def initial_state(self, *arguments: Any) -> State:
        """Return the initial states of all layers, which take the same arguments."""
        layers: Iterable[Any] = self
        return numbered(layer.initial_state(*arguments) for layer in layers)

    def initial_states(self, batch: int, sizes: Sequence[int], like: Tensor) -> State:
        """Return the initial states of layers whose inputs have these numbers of bins."""
        layers: Iterable[Any] = self
        return numbered(
            layer.initial_state(batch, size, like)
            for layer, size in zip(layers, sizes, strict=True)
        )

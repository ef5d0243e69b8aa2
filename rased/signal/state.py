"""What a causal part remembers between chunks: tensors by dotted names, as flat as a file of weights."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import Tensor

State = dict[str, Tensor]
"""Named, real tensors, none of them empty; no two share storage. A part that remembers nothing has none."""


def joined(parts: Mapping[str, State]) -> State:
    """One state of several parts: the tensor `memory` of the part `encoder` becomes `encoder.memory`.

    >>> import torch
    >>> list(joined({"encoder": {"memory": torch.zeros(1)}, "decoder": {}}))
    ['encoder.memory']
    """
    return {
        f"{name}.{leaf}": tensor for name, part in parts.items() for leaf, tensor in part.items()
    }


def numbered(states: Iterable[State]) -> State:
    """One state of the parts of a list, which are called 0, 1 and so on."""
    return joined({str(index): state for index, state in enumerate(states)})


def parted(state: State) -> defaultdict[str, State]:
    """Inverse of `joined`; a part that is not there has the empty state."""
    parts: defaultdict[str, State] = defaultdict(dict)
    for name, tensor in state.items():
        part, _, leaf = name.partition(".")
        parts[part][leaf] = tensor
    return parts

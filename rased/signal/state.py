"""State of a causal module between chunks: a flat dictionary of tensors with dotted names, like a state dict."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Complex
from torch import Tensor

from rased.signal.domains import Spectrum

State = dict[str, Tensor]
"""Named, real, non-empty tensors; no two share storage. A module without memory has an empty state."""


def joined(parts: Mapping[str, State]) -> State:
    """Join the states of several parts: the tensor `memory` of the part `encoder` becomes `encoder.memory`.

    >>> import torch
    >>> list(joined({"encoder": {"memory": torch.zeros(1)}, "decoder": {}}))
    ['encoder.memory']
    """
    return {
        f"{name}.{leaf}": tensor for name, part in parts.items() for leaf, tensor in part.items()
    }


def numbered(states: Iterable[State]) -> State:
    """Join the states of the items of a list, named 0, 1 and so on."""
    return joined({str(index): state for index, state in enumerate(states)})


def parted(state: State) -> defaultdict[str, State]:
    """Invert `joined`; a missing part has the empty state."""
    parts: defaultdict[str, State] = defaultdict(dict)
    for name, tensor in state.items():
        part, _, leaf = name.partition(".")
        parts[part][leaf] = tensor
    return parts


def with_past(
    spectrum: Spectrum, state: State
) -> tuple[Complex[Tensor, "batch freq more_frames"], State]:
    """Return the frames after those of `memory` (batch, freq, past, 2), and the new memory; no memory: no past."""
    if not state:
        # The memory layout that `cat` gives, so that later sums round equally.
        return spectrum.contiguous(), {}
    past = state["memory"].shape[2]
    # A state holds only real tensors.
    extended = torch.cat([torch.view_as_complex(state["memory"]), spectrum], dim=-1)
    after = torch.view_as_real(extended[..., extended.shape[-1] - past :])
    return extended, {"memory": after.contiguous()}


def delayed(spectrum: Spectrum, state: State) -> tuple[Spectrum, State]:
    """Delay the spectrum by the frames in `memory` (batch, freq, late, 2); no delay without a memory."""
    extended, after = with_past(spectrum, state)
    return extended[..., : spectrum.shape[-1]], after


def initial_past(batch: int, freq: int, past: int, like: Tensor) -> State:
    """Return a memory of silence with this many frames; none for 0."""
    return {"memory": like.new_zeros(batch, freq, past, 2)} if past else {}

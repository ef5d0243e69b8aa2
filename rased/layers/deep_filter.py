"""Deep filtering: each bin of a frame is a weighted sum of the same bin in neighbouring frames, with complex weights.

Mack and Habets, "Deep filtering: signal extraction and reconstruction using complex time-frequency filters",
IEEE SPL 27, 2020, doi:10.1109/LSP.2019.2955818; Schröter et al., "DeepFilterNet", ICASSP 2022, arXiv:2110.05588.
"""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor

from rased.signal.domains import Spectrum
from rased.signal.state import State


def deep_filter(
    spectrum: Complex[Tensor, "batch freq more_frames"],
    weights: Float[Tensor, "batch frames freq order 2"],
) -> Spectrum:
    """Filter: frame k of the result is computed from frames k to k + order - 1.

    Args:
        spectrum: frames + order - 1 of them.
        weights: real and imaginary part for each of the `order` frames, the oldest first.
    """
    frames, order = weights.shape[1], weights.shape[3]
    real, imaginary = spectrum.real, spectrum.imag
    by_real, by_imaginary = rearrange(weights, "n t f order part -> part order n f t").contiguous()
    taps = [(slice(tap, tap + frames), by_real[tap], by_imaginary[tap]) for tap in range(order)]
    # The complex product (r + is)(a + ib) in real numbers: the weights are real tensors.
    parts = [
        sum(real[..., at] * a - imaginary[..., at] * b for at, a, b in taps),
        sum(real[..., at] * b + imaginary[..., at] * a for at, a, b in taps),
    ]
    return torch.complex(*parts)


def with_past(spectrum: Spectrum, state: State) -> tuple[Complex[Tensor, "batch freq more"], State]:
    """Return the frames after those of `memory` (batch, freq, past, 2), and the new memory; no memory: no past."""
    if not state:
        # The memory layout that `cat` gives, so that later sums round equally.
        return spectrum.contiguous(), {}
    past = state["memory"].shape[2]
    # A state holds only real tensors.
    extended = torch.cat([torch.view_as_complex(state["memory"]), spectrum], dim=-1)
    after = torch.view_as_real(extended[..., extended.shape[-1] - past :])
    return extended, {"memory": after.contiguous()}


def initial_past(batch: int, freq: int, past: int, like: Tensor) -> State:
    """Return a memory of silence with this many frames."""
    return {"memory": like.new_zeros(batch, freq, past, 2)}

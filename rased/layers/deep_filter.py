"""Deep filtering: each bin of a frame is a weighted sum of the same bin in neighbouring frames, with complex weights.

Mack and Habets, "Deep filtering: signal extraction and reconstruction using complex time-frequency filters",
IEEE SPL 27, 2020, doi:10.1109/LSP.2019.2955818; Schröter et al., "DeepFilterNet", ICASSP 2022, arXiv:2110.05588.
"""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor

from rased.signal.domains import Spectrum


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

"""Ideal time-frequency masks, and how to apply a mask.

A mask is the factor that brings the noisy spectrum X close to the target S (N = X - S is the rest).

| kind | ideal value | range | source |
|---|---|---|---|
| binary_mask | 1 where abs(S) > abs(N), else 0 | 0, 1 | Wang 2005 |
| ratio_mask | sqrt(abs(S)^2 / (abs(S)^2 + abs(N)^2)) | 0 to 1 | Narayanan 2013; Wang 2014 |
| wiener_mask | abs(S)^2 / (abs(S)^2 + abs(N)^2) | 0 to 1 | the ratio mask squared (Erdogan 2015) |
| amplitude_mask | abs(S) / abs(X), clipped | 0 to 2 | Wang 2014 (FFT mask) |
| phase_sensitive_mask | Re(S / X), clipped | 0 to 1 | Erdogan 2015 |
| complex_mask | S / X | complex | Williamson 2016 |

Between several estimates, `minimum_difference_masks` choose the best one of each bin (Shi 2020).
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

from rased.signal.domains import Bins, Spectrum
from rased.signal.features import power

FLOOR = 1e-8
"""A bin with less power counts as silent; its mask is 0."""

AMPLITUDE_LIMIT = 2.0
"""Upper limit of the amplitude mask, in targets and in outputs."""

COMPRESSION_LIMIT, COMPRESSION_STEEPNESS = 10.0, 0.1
"""K and C of the compressed complex ratio mask (Williamson 2016, equation 14)."""


def binary_mask(*, target: Spectrum, noisy: Spectrum) -> Bins:
    """Return 1 where speech has more power than the rest, else 0."""
    return (power(target) > power(noisy - target)).to(target.real.dtype)


def ratio_mask(*, target: Spectrum, noisy: Spectrum) -> Bins:
    """Return the square root of the speech's share of the power."""
    speech, rest = power(target), power(noisy - target)
    return (speech / (speech + rest + FLOOR)).sqrt()


def wiener_mask(*, target: Spectrum, noisy: Spectrum) -> Bins:
    """Return the speech's share of the power: the best real mask where only both powers are known."""
    speech, rest = power(target), power(noisy - target)
    return speech / (speech + rest + FLOOR)


def amplitude_mask(*, target: Spectrum, noisy: Spectrum) -> Bins:
    """Return the amplitude of speech divided by that of the input, clipped."""
    return (power(target) / (power(noisy) + FLOOR)).sqrt().clamp(max=AMPLITUDE_LIMIT)


def phase_sensitive_mask(*, target: Spectrum, noisy: Spectrum) -> Bins:
    """Return the real part of speech divided by the input, limited to 0 to 1."""
    return _ratio(target, noisy).real.clamp(0.0, 1.0)


def complex_mask(*, target: Spectrum, noisy: Spectrum) -> Spectrum:
    """Return speech divided by the input, as complex numbers."""
    return _ratio(target, noisy)


def minimum_difference_masks(
    *, target: Spectrum, estimates: Complex[Tensor, "batch source freq frames"]
) -> Float[Tensor, "batch source freq frames"]:
    """Return, for each estimate, 1 in the bins where its magnitude is the closest to that of speech, else 0.

    If several are equally close, the first one has the 1. H. Shi, L. Wang, M. Ge, S. Li, J. Dang, "Spectrograms fusion
    with minimum difference masks estimation for monaural speech dereverberation", ICASSP 2020.
    """
    difference = (estimates.abs() - target.abs()[:, None]).abs()
    best = functional.one_hot(difference.argmin(1), estimates.shape[1])
    return best.movedim(-1, 1).to(difference.dtype)


def apply_mask(mask: Bins | Spectrum, noisy: Spectrum) -> Spectrum:
    """Return the masked spectrum; a real mask keeps the noisy phase, a complex mask rotates it."""
    return noisy * mask


def compress_mask(mask: Spectrum) -> Spectrum:
    """Return K tanh(C m / 2) of each part, which bounds the complex mask for a loss (Williamson 2016)."""
    parts = torch.view_as_real(mask)
    return torch.view_as_complex(COMPRESSION_LIMIT * (COMPRESSION_STEEPNESS / 2 * parts).tanh())


def expand_mask_parts(parts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return what `compress_mask` compresses to these parts; parts beyond 99 % of the bound count as those."""
    # atanh is infinite at 1.
    bounded = (parts / COMPRESSION_LIMIT).clamp(-0.99, 0.99)
    return 2 / COMPRESSION_STEEPNESS * bounded.atanh()


def _ratio(target: Spectrum, noisy: Spectrum) -> Spectrum:
    return target * noisy.conj() / (power(noisy) + FLOOR)  # S / X; a silent bin gives 0

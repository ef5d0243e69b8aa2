"""Time-frequency masks: what the ideal one is, and how one is applied. The one place for both.

A mask answers: by what must the noisy spectrum X be multiplied to come near the target S? (N = X -
S is the rest.)

| kind | ideal value | range | source |
|---|---|---|---|
| binary_mask | 1 where abs(S) > abs(N), else 0 | 0, 1 | Wang 2005 |
| ratio_mask | sqrt(abs(S)^2 / (abs(S)^2 + abs(N)^2)) | 0 to 1 | Narayanan 2013; Wang 2014 |
| amplitude_mask | abs(S) / abs(X), clipped | 0 to 2 | Wang 2014 (FFT mask) |
| phase_sensitive_mask | Re(S / X), clipped | 0 to 1 | Erdogan 2015 |
| complex_mask | S / X | complex | Williamson 2016 |
"""

from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

MaskKind = Literal[
    "binary_mask", "ratio_mask", "amplitude_mask", "phase_sensitive_mask", "complex_mask"
]

FLOOR = 1e-8
"""Power below which a bin counts as silent; there every mask is 0."""

AMPLITUDE_LIMIT = 2.0
"""Upper end of the amplitude mask, in targets and in outputs."""

COMPRESSION_LIMIT, COMPRESSION_STEEPNESS = 10.0, 0.1
"""K and C of the compressed complex ratio mask (Williamson 2016, equation 14)."""


def ideal_mask(
    kind: MaskKind,
    *,
    target: Complex[Tensor, "batch freq frames"],
    noisy: Complex[Tensor, "batch freq frames"],
) -> Float[Tensor, "batch freq frames"] | Complex[Tensor, "batch freq frames"]:
    """The mask of this kind that brings `noisy` nearest to `target`."""
    match kind:
        case "binary_mask":
            return (_power(target) > _power(noisy - target)).to(target.real.dtype)
        case "ratio_mask":
            speech, rest = _power(target), _power(noisy - target)
            return (speech / (speech + rest + FLOOR)).sqrt()
        case "amplitude_mask":
            return (_power(target) / (_power(noisy) + FLOOR)).sqrt().clamp(max=AMPLITUDE_LIMIT)
        case "phase_sensitive_mask":
            return _ratio(target, noisy).real.clamp(0.0, 1.0)
        case "complex_mask":
            return _ratio(target, noisy)


def apply_mask(
    mask: Float[Tensor, "batch freq frames"] | Complex[Tensor, "batch freq frames"],
    noisy: Complex[Tensor, "batch freq frames"],
) -> Complex[Tensor, "batch freq frames"]:
    """Masked spectrum; a real mask keeps the noisy phase, a complex one turns it."""
    return noisy * mask


def mask_from_output(
    kind: MaskKind, output: Float[Tensor, "batch feature frames"]
) -> Float[Tensor, "batch freq frames"] | Complex[Tensor, "batch freq frames"]:
    """Squash what a network puts out into the range of the mask (complex: real, then imaginary)."""
    if kind == "complex_mask":
        real, imag = output.chunk(2, dim=1)
        return torch.complex(real.contiguous(), imag.contiguous())
    limit = AMPLITUDE_LIMIT if kind == "amplitude_mask" else 1.0
    return limit * output.sigmoid()


def compress_mask(
    mask: Complex[Tensor, "batch freq frames"],
) -> Complex[Tensor, "batch freq frames"]:
    """K tanh(C m / 2) on each part: bounds the complex mask for a loss (Williamson 2016)."""
    parts = torch.view_as_real(mask)
    return torch.view_as_complex(COMPRESSION_LIMIT * (COMPRESSION_STEEPNESS / 2 * parts).tanh())


def _power(spectrum: Complex[Tensor, "batch freq frames"]) -> Float[Tensor, "batch freq frames"]:
    return spectrum.real.square() + spectrum.imag.square()


def _ratio(
    target: Complex[Tensor, "batch freq frames"], noisy: Complex[Tensor, "batch freq frames"]
) -> Complex[Tensor, "batch freq frames"]:
    return target * noisy.conj() / (_power(noisy) + FLOOR)

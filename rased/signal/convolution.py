"""Convolution of one long waveform with one long response, as a product of spectra.

`transform` both on a grid of `grid_length` samples, multiply, `restore`. On a processor a spectrum is
that of the waveform split into `PARTS` short sequences; elsewhere it is torch's own.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

PARTS = 16


@lru_cache(maxsize=16)
def fft_length(samples: int) -> int:
    """Smallest even length of at least `samples` whose only prime factors are 2, 3 and 5."""
    least = -(-samples // 2)
    odd = (3**threes * 5**fives for threes in range(8) for fives in range(8))
    return 2 * min(factor << (max(0, -(-least // factor) - 1)).bit_length() for factor in odd)


def grid_length(samples: int) -> int:
    """Length of a grid for convolutions of so many samples, waveform and response together."""
    return 2 * PARTS * fft_length(-(-samples // (2 * PARTS)))


def by_parts(device: torch.device) -> bool:
    """Whether a waveform is split up: on a processor."""
    return device.type == "cpu"


def transform(waveform: Float[Tensor, " time"], length: int) -> Complex[Tensor, "..."]:
    """Spectrum on a grid of `length` samples: products of spectra are convolutions, `restore` takes them back.

    On a processor: the waveform is a polynomial modulo x^length + 1, which is the product of
    `PARTS` factors x^(length / 2 PARTS) - c and their conjugates, |c| = 1. It is reduced modulo each by a small matrix
    product, and a weighted cyclic transform follows (Nussbaumer, "Fast Fourier transform and convolution
    algorithms", Springer 1982): many short complex transforms side by side, several times faster than one long real
    one, which leaves the cache. One row at a time and laid out afresh, so that it has the same bits wherever it came
    from.
    """
    if not by_parts(waveform.device):
        return torch.fft.rfft(waveform, n=length)
    columns, time = length // (2 * PARTS), waveform.shape[-1]
    rows = -(-time // columns)
    laid_out = waveform.new_empty(rows * columns)
    laid_out[:time] = waveform
    laid_out[time:] = 0
    split, weights, _ = _factors(columns, waveform.dtype)
    residues = torch.mm(laid_out.view(rows, columns).T, split[:rows])
    folded = torch.view_as_complex(residues.view(columns, PARTS, 2))
    folded *= weights
    return torch.fft.fft(folded.T)


def restore(
    spectra: Complex[Tensor, "several ..."], *, out: Sequence[Float[Tensor, " time"]]
) -> None:
    """Write the first samples of what `transform` made, or of products of such spectra, to `out`, one each."""
    time = out[0].shape[-1]
    if not by_parts(spectra.device):
        for row, samples in zip(out, torch.fft.irfft(spectra), strict=True):
            row.copy_(samples[:time])  # of even length, as grids are
        return
    columns = spectra.shape[-1]
    split, _, weights = _factors(columns, out[0].dtype)
    split = split[: -(-time // columns)]
    residues = split.new_empty(columns, 2 * PARTS)
    folded = torch.view_as_complex(residues.view(columns, PARTS, 2))
    for row, transformed in zip(out, torch.fft.ifft(spectra), strict=True):
        torch.mul(transformed.T, weights, out=folded)
        row.copy_(torch.mm(split, residues.T).view(-1)[:time])


def response(rir: Float[Tensor, " taps"], direct: int, length: int) -> Complex[Tensor, "..."]:
    """Transfer function of a room on the grid of `transform`, its direct path at time 0.

    What comes before the direct path lies at negative times, at the end of the grid: on a processor
    with the other sign, as a turn around its grid is one by half a circle. Waveform and response need
    `length` samples together.
    """
    gap = rir.new_zeros(length - rir.shape[-1])
    before = -rir[:direct] if by_parts(rir.device) else rir[:direct]
    return transform(torch.cat([rir[direct:], gap, before]), length)


def convolve(
    waveform: Float[Tensor, " time"], rir: Float[Tensor, " taps"], direct: int
) -> Float[Tensor, " time"]:
    """Speech as it sounds in a room: aligned to the direct path, as long as the dry waveform."""
    length = grid_length(waveform.shape[-1] + rir.shape[-1])
    reverberant = torch.empty_like(waveform)
    spectrum = transform(waveform, length) * response(rir, direct, length)
    restore(spectrum[None], out=[reverberant])
    return reverberant


@lru_cache(maxsize=16)
def _factors(
    columns: int, dtype: torch.dtype
) -> tuple[
    Float[Tensor, "rows rows"],
    Complex[Tensor, "{columns} parts"],
    Complex[Tensor, "{columns} parts"],
]:
    """Powers of the roots c, a row each, real and imaginary parts in turn; weights of the transform, and back."""
    angle = torch.pi * (2 * torch.arange(PARTS, dtype=torch.float64) + 1) / (2 * PARTS)
    powers = torch.arange(2 * PARTS, dtype=torch.float64)[:, None] * angle
    split = torch.stack([powers.cos(), powers.sin()], dim=-1).view(2 * PARTS, 2 * PARTS)
    turn = torch.arange(columns, dtype=torch.float64)[:, None] * angle / columns
    weights = torch.polar(torch.ones_like(turn), turn)
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return split.to(dtype), weights.to(kind), (weights.conj() / PARTS).resolve_conj().to(kind)

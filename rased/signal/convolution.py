"""Convolve a long waveform with a long impulse response, as a product of spectra.

Call `transform` for both with a length from `grid_length`, multiply, and call `restore`. On a CPU, the transform
splits the waveform into `PARTS` short sequences, for speed; on other devices it is torch's FFT.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

PARTS = 16


@lru_cache(maxsize=16)
def fft_length(samples: int) -> int:
    """Return the smallest even length of at least `samples` with no prime factor above 5 (fast for an FFT)."""
    least = -(-samples // 2)
    odd = (3**threes * 5**fives for threes in range(8) for fives in range(8))
    # The smallest power of two times each odd factor that reaches `least`.
    return 2 * min(factor << (max(0, -(-least // factor) - 1)).bit_length() for factor in odd)


def grid_length(samples: int) -> int:
    """Return the transform length for a waveform and a response of `samples` samples together."""
    return 2 * PARTS * fft_length(-(-samples // (2 * PARTS)))


def by_parts(device: torch.device) -> bool:
    """Return whether the waveform is split into parts: on a CPU."""
    return device.type == "cpu"


def transform(waveform: Float[Tensor, " time"], length: int) -> Complex[Tensor, "..."]:
    """Transform a waveform, zero-padded to `length`. Products of such spectra are convolutions; `restore` inverts them.

    On a CPU, the waveform is treated as a polynomial modulo x^length + 1. This polynomial is the product of
    `PARTS` factors x^(length / 2 PARTS) - c, |c| = 1, and their conjugates. A small matrix product reduces the
    waveform modulo each factor; a weighted cyclic FFT of each remainder follows (Nussbaumer, "Fast Fourier transform
    and convolution algorithms", Springer 1982). Many short complex FFTs are several times faster than one long
    real FFT, which does not fit the cache. Rows are processed one at a time and copied to fresh memory, so that the
    result of a row has the same bits in any batch.
    """
    if not by_parts(waveform.device):
        return torch.fft.rfft(waveform, n=length)
    columns, time = length // (2 * PARTS), waveform.shape[-1]
    rows = -(-time // columns)
    laid_out = waveform.new_empty(rows * columns)
    laid_out[:time] = waveform
    laid_out[time:] = 0
    split, weights, _ = _factors(columns, waveform.dtype)
    # Modulo x^columns - c, row r of the samples (a multiple of x^(r columns)) is weighted with c^r.
    residues = torch.mm(laid_out.view(rows, columns).T, split[:rows])
    folded = torch.view_as_complex(residues.view(columns, PARTS, 2))
    # Weights c^(n / columns) make the remainder modulo x^columns - c cyclic, so that a plain FFT multiplies it.
    folded *= weights
    return torch.fft.fft(folded.T)


def restore(
    spectra: Complex[Tensor, "several ..."], *, out: Sequence[Float[Tensor, " time"]]
) -> None:
    """Invert `transform` (or products of its spectra), and write the first samples of each row to `out`."""
    time = out[0].shape[-1]
    if not by_parts(spectra.device):
        for row, samples in zip(out, torch.fft.irfft(spectra), strict=True):
            row.copy_(samples[:time])  # irfft assumes an even length; grids have one
        return
    columns = spectra.shape[-1]
    split, _, weights = _factors(columns, out[0].dtype)
    split = split[: -(-time // columns)]
    residues = split.new_empty(columns, 2 * PARTS)
    folded = torch.view_as_complex(residues.view(columns, PARTS, 2))
    for row, transformed in zip(out, torch.fft.ifft(spectra), strict=True):
        torch.mul(transformed.T, weights, out=folded)
        # Row r of the product holds samples r columns to (r + 1) columns - 1 again.
        row.copy_(torch.mm(split, residues.T).view(-1)[:time])


def response(rir: Float[Tensor, " taps"], direct: int, length: int) -> Complex[Tensor, "..."]:
    """Return the transfer function of a room, with its direct path at time 0.

    Samples before the direct path have negative times, so they are placed at the end of the grid. On a CPU they
    change sign, because x^length = -1 in the ring of `transform`. Waveform and response together must not
    exceed `length` samples.
    """
    gap = rir.new_zeros(length - rir.shape[-1])
    before = -rir[:direct] if by_parts(rir.device) else rir[:direct]
    return transform(torch.cat([rir[direct:], gap, before]), length)


def convolve(
    waveform: Float[Tensor, " time"], rir: Float[Tensor, " taps"], direct: int
) -> Float[Tensor, " time"]:
    """Return speech as it sounds in a room, aligned to the direct path and with the length of the dry waveform."""
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
    """Return powers of the roots c, a row each (real and imaginary parts in turn), and the FFT weights both ways."""
    angle = torch.pi * (2 * torch.arange(PARTS, dtype=torch.float64) + 1) / (2 * PARTS)
    powers = torch.arange(2 * PARTS, dtype=torch.float64)[:, None] * angle
    # Real and imaginary parts in turn: the product of real matrices can be viewed as complex numbers.
    split = torch.stack([powers.cos(), powers.sin()], dim=-1).view(2 * PARTS, 2 * PARTS)
    turn = torch.arange(columns, dtype=torch.float64)[:, None] * angle / columns
    weights = torch.polar(torch.ones_like(turn), turn)
    kind = torch.complex64 if dtype == torch.float32 else torch.complex128
    return split.to(dtype), weights.to(kind), (weights.conj() / PARTS).resolve_conj().to(kind)

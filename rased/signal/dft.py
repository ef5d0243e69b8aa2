"""The discrete Fourier transform of real frames as two small matrix products, for graphs that leave PyTorch.

ONNX Runtime computes a DFT slowly, other runtimes not at all, and one full matrix has 263 000 numbers for 512 samples.
By Cooley and Tukey (1965), a length n1 * n2 needs one matrix for each of n2 short frames of n1 samples, and one
matrix of n2 complex numbers for all of them: 36 000 products for 512 samples. Real input has conjugate twins, so that
only half of the short spectra are computed.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

_ROUNDING = 1e-13
"""Sines and cosines below it are 0; those of a frame are much larger."""


class Factors(NamedTuple):
    """Matrices of a transform of n1 * n2 samples.

    Attributes:
        first: (n2, n1, 2 half): samples that are n2 apart to half = n1 // 2 + 1 complex numbers.
        second: (2 n2, 2 n2): these numbers, for each of `half`, to bins that are n1 apart; the upper ones conjugated.
        places: (2 freq): where the real parts of all bins, then the imaginary parts, are in the result.
        weights: (half 2 n2): for the inverse, how much each place counts; 0 where a bin has been counted before.
        bins: (half 2 n2): the part of a bin at each place: real parts from 0, imaginary parts from freq.
    """

    first: np.ndarray
    second: np.ndarray
    places: np.ndarray
    weights: np.ndarray
    bins: np.ndarray


def real_dft(
    frames: Float[Tensor, "batch frames n_fft"],
) -> tuple[Float[Tensor, "batch frames freq"], Float[Tensor, "batch frames freq"]]:
    """Return real and imaginary parts of the spectra."""
    factors = _factors(frames.shape[-1])
    first, second = _constant(factors.first, frames), _constant(factors.second, frames)
    short = rearrange(frames, "b t (n1 n2) -> n2 (b t) n1", n2=len(first)) @ first
    # k: bin of a short frame, p: real or imaginary part
    long = rearrange(short, "n2 bt (k p) -> k bt (n2 p)", p=2) @ second
    parts = rearrange(long, "k bt n -> bt (k n)").index_select(
        -1, _constant(factors.places, frames)
    )
    real, imag = rearrange(parts, "(b t) f -> b t f", b=len(frames)).chunk(2, dim=-1)
    return real, imag


def inverse_real_dft(
    real: Float[Tensor, "batch frames freq"], imag: Float[Tensor, "batch frames freq"], n_fft: int
) -> Float[Tensor, "batch frames {n_fft}"]:
    """Return the frames of spectra; the inverse of `real_dft`."""
    factors = _factors(n_fft)
    first, second = _constant(factors.first, real), _constant(factors.second, real)
    parts = rearrange(torch.cat([real, imag], dim=-1), "b t f -> (b t) f")
    # The transposed steps in reverse order: a real transform is orthogonal except for these weights.
    placed = parts.index_select(-1, _constant(factors.bins, real)) * _constant(
        factors.weights, real
    )
    long = rearrange(placed, "bt (k n) -> k bt n", n=len(second)) @ second.T
    short = rearrange(long, "k bt (n2 p) -> n2 bt (k p)", p=2) @ first.transpose(1, 2)
    return rearrange(short, "n2 (b t) n1 -> b t (n1 n2)", b=len(real))


def _constant(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like.device)


@lru_cache
def _factors(n_fft: int) -> Factors:
    """Return the matrices; n2 is the even divisor next to the square root. An odd length stays in one piece."""
    n2 = max((d for d in range(2, int(n_fft**0.5) + 2, 2) if n_fft % d == 0), default=1)
    n1, freq = n_fft // n2, n_fft // 2 + 1
    half = n1 // 2 + 1
    # The sample n1 * n2 + n2 meets the bin k of the short frames: one exact angle for both steps of the textbook.
    at = n2 * np.arange(n1)[None, :, None] + np.arange(n2)[:, None, None]
    first = _turned(at * np.arange(half), n_fft)
    first = np.stack([first.real, first.imag], axis=-1).reshape(n2, n1, 2 * half)
    turn = _turned(np.outer(np.arange(n2), np.arange(n2)), n2)
    # Rows: real and imaginary input; columns: all real parts, then all imaginary parts.
    # The upper bins stand for their twins.
    sign = np.where(np.arange(n2) >= (n2 + 1) // 2, -1.0, 1.0)
    rows = np.stack(
        [np.hstack([turn.real, turn.imag * sign]), np.hstack([-turn.imag, turn.real * sign])], 1
    )
    second = rows.reshape(2 * n2, 2 * n2)
    bins = np.arange(freq)
    direct = bins % n1 < half
    twin = np.where(direct, bins, n_fft - bins)
    real = twin % n1 * 2 * n2 + twin // n1
    places = np.concatenate([real, real + n2])
    weights, back = np.zeros(half * 2 * n2), np.zeros(half * 2 * n2, dtype=np.int64)
    once = np.where((bins == 0) | (2 * bins == n_fft), 1.0, 2.0) / n_fft
    weights[places], back[places] = np.tile(once, 2), np.arange(2 * freq)
    narrow = np.float32
    return Factors(
        first.astype(narrow), second.astype(narrow), places, weights.astype(narrow), back
    )


def _turned(steps: np.ndarray, n_fft: int) -> np.ndarray:
    """Return exp(-2 pi i steps / n_fft), with the steps reduced to a turn while they are whole numbers."""
    turned = np.asarray(np.exp(-2j * np.pi * (steps % n_fft) / n_fft))
    # Exactly 0 where it should be: the first and the last bin of real frames have no imaginary part, not a tiny one.
    turned.real[np.abs(turned.real) < _ROUNDING] = 0.0
    turned.imag[np.abs(turned.imag) < _ROUNDING] = 0.0
    return turned

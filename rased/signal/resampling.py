"""Resampling with a gradient, for losses that are defined at one sample rate; files are resampled by soxr."""

import math
from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased.signal.domains import Waveform

_REJECTION_DB = 60.0


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Float[Tensor, "batch resampled"]:
    """Return the waveform at another rate, ceil(time * to_rate / from_rate) samples, with its gradient.

    The filter is a windowed sinc with 60 dB rejection, as in Octave's `resample`, which STOI is defined with.
    """
    common = math.gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    if up == down:
        return waveform
    # `up`, because only one of `up` samples is not zero below.
    taps = torch.from_numpy(up * _lowpass(up, down)).to(waveform)
    reach = len(taps) // 2
    spread = functional.pad(waveform[..., None], (0, up - 1))
    zeros_between = rearrange(spread, "batch time up -> batch 1 (time up)")
    # `down` more, so that the last sample is complete
    padded = functional.pad(zeros_between, (reach, reach + down))
    heard: Tensor = functional.conv1d(padded, taps[None, None], stride=down)[:, 0]
    return heard[:, : -(-waveform.shape[-1] * up // down)]


@lru_cache
def _lowpass(up: int, down: int) -> np.ndarray:
    """Return a symmetric filter with a sum of 1, at `up` times the old rate."""
    cutoff = 1 / (2 * max(up, down))
    # Kaiser's formulas for length and shape of the window; the transition is a tenth of the cutoff.
    half = math.ceil((_REJECTION_DB - 8) / (28.714 * cutoff / 10))
    place = np.arange(-half, half + 1)
    taps = np.kaiser(2 * half + 1, 0.1102 * (_REJECTION_DB - 8.7)) * np.sinc(2 * cutoff * place)
    return taps / taps.sum()

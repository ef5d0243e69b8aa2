"""Change the speed of speech by resampling, so that pitch and formants change, too, as if another person spoke."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

REACH = 12
"""Samples on each side that the interpolation uses."""
_STEPS = 20
"""Bits of the position between two samples."""


def source_frames(frames: int, speed: float) -> int:
    """Return how many samples of speech are needed for `frames` samples at a speed, including those to interpolate."""
    return math.ceil(frames * speed) + REACH


def at_speed(
    waveforms: Float[Tensor, "batch source"], speed: Float[Tensor, " batch"], frames: int
) -> Float[Tensor, "batch {frames}"]:
    """Return the first `frames` samples of each waveform at its speed; above 1 is faster and higher.

    Interpolates with a windowed sinc (Hann) that is cut off at the lower of the two Nyquist frequencies. Speed 1
    changes only the last bits; after the end there is silence. `speed` is rounded to a millionth.
    """
    # Positions are integers of 2^-20 samples: equal on every device, and exact at any distance from the start.
    # MPS has no double precision.
    steps = (speed.double() if speed.device.type != "mps" else speed) * 2**_STEPS
    place = torch.arange(frames, device=speed.device) * steps.round().long()[:, None]
    before = place >> _STEPS  # index of the sample before; the low bits are the fraction
    share = (place & (2**_STEPS - 1)).to(waveforms.dtype) / 2**_STEPS
    # Far enough after the end that no tap reaches the waveform, whatever the speed.
    padded = functional.pad(waveforms, (REACH, 2 * REACH))
    before = before.clamp_max(waveforms.shape[-1] + REACH - 1)
    # Relative to the Nyquist frequency of the source: faster speech must lose what would alias.
    cutoff = (1 / speed).clamp_max(1.0)[:, None]
    # Common factors of the sines and cosines of all taps are computed once: a tap costs only products.
    sine, cosine = (math.pi * cutoff * share).sin(), (math.pi * cutoff * share).cos()
    window_sine = (math.pi / REACH * share).sin()
    window_cosine = (math.pi / REACH * share).cos()
    total = torch.zeros_like(share)
    for tap in range(1 - REACH, REACH + 1):
        angle = math.pi * cutoff * tap
        distance = math.pi * (tap - share)
        # sin(a - b) and, below, cos(a - b) by their addition theorems.
        wave = angle.sin() * cosine - angle.cos() * sine
        sinc = torch.where(distance == 0, cutoff, wave / distance)
        turn = math.pi / REACH * tap
        window = 0.5 + 0.5 * (math.cos(turn) * window_cosine + math.sin(turn) * window_sine)
        total += padded.gather(1, before + (REACH + tap)) * sinc * window
    return total

"""Losses that are measures of intelligibility: 1 - STOI and 1 - ESTOI, with their gradient."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rased.losses.base import Loss
from rased.losses.level import damped, mean_of_sounding, normalised
from rased.signal.domains import Samples, Waveform
from rased.signal.resampling import resample

# The constants of the paper: frames of 25.6 ms, segments of 30 frames, bands from 150 Hz.
_RATE, _WINDOW, _HOP, _N_FFT = 10_000, 256, 128, 512
_BANDS, _LOWEST_HZ, _SEGMENT = 15, 150.0, 30
_DYNAMICS_DB, _CLIPPING_DB = 40.0, 15.0
_FLOOR = 1e-4
"""Smallest power in a band of a signal with an rms of 1, about 65 dB below that of white noise."""

_SOFT = 1e-2
"""Power in a band at which its gradient is halved."""
_STEADY = 3e-3
"""An envelope that varies by a smaller share of its size counts as constant, with a correlation near 0."""
Envelopes = Float[Tensor, "segments band frames"]


class STOI(Loss):
    """1 - STOI, which falls with intelligibility.

    C. H. Taal, R. C. Hendriks, R. Heusdens, J. Jensen, "An algorithm for intelligibility prediction of time-frequency
    weighted noisy speech", IEEE TASLP 19(7), 2011; as a loss: M. Kolbæk, Z.-H. Tan, J. Jensen, "Monaural speech
    enhancement using deep neural networks by maximizing a short-time objective intelligibility measure", ICASSP
    2018 (arXiv 1802.00604). The mean correlation of the envelopes in 15 third-octave bands of both signals, over
    segments of 384 ms, after the level of the estimate is fitted to that of the target and limited to 15 dB
    above it, at 10 kHz, without the frames in which the target is silent: everything as in the metric. The level
    of the estimate is free: add a loss that fits it. An item with less than 0.4 s of speech, or a silent target, has
    no STOI and counts 0.

    Args:
        sample_rate: sample rate of the waveforms in Hz.
    """

    optimises: tuple[str, ...] = ("stoi", "estoi")
    degree = 0.0
    level_free = True

    def __init__(self, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.sample_rate = self._rate = sample_rate

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return a value between 0 and 2."""
        pair = [normalised(resample(one, self._rate, _RATE)) for one in (estimate, target)]
        values = torch.stack([self._one(*item) for item in zip(*pair, strict=True)])
        return mean_of_sounding(values, target)

    def _one(self, estimate: Samples, target: Samples) -> Float[Tensor, ""]:
        made, wanted = _without_pauses(estimate, target)
        if len(wanted) < _SEGMENT:
            # Zero with a gradient, which distributed training waits for.
            return 0.0 * estimate.sum()
        segments = (_bands(frames).unfold(0, _SEGMENT, 1) for frames in (made, wanted))
        return 1 - self._correlation(*segments)

    def _correlation(self, estimate: Envelopes, target: Envelopes) -> Float[Tensor, ""]:
        # The paper's alpha fits the level of each envelope; its beta, -15 dB, limits what a single frame can spoil.
        gain = _norm(target, -1) / _norm(estimate, -1)
        limited = torch.minimum(estimate * gain, target * (1 + 10 ** (_CLIPPING_DB / 20)))
        return (_unit(limited, -1) * _unit(target, -1)).sum(-1).mean()


class ESTOI(STOI):
    """1 - ESTOI, which also counts correlations between bands.

    J. Jensen, C. H. Taal, "An algorithm for predicting the intelligibility of speech masked by modulated noise
    maskers", IEEE/ACM TASLP 24(11), 2016: in each segment, the envelope of each band is normalised, then the
    spectrum of each frame; the mean correlation of these spectra. Else as `STOI`.
    """

    optimises = ("estoi", "stoi")

    def _correlation(self, estimate: Envelopes, target: Envelopes) -> Float[Tensor, ""]:
        made, wanted = (_unit(_unit(one, -1), -2) for one in (estimate, target))
        return (made * wanted).sum(-2).mean()


def _without_pauses(estimate: Samples, target: Samples) -> tuple[Tensor, Tensor]:
    """Cut out frames in which the target is 40 dB below its loudest, join the rest, and return its frames.

    Returns:
        Windowed frames (frames, window) of the estimate and of the target.
    """
    # MATLAB's hanning, which does not include the zeros at both ends.
    window = torch.from_numpy(np.hanning(_WINDOW + 2)[1:-1]).to(target)
    if len(target) <= _WINDOW:
        return target.new_zeros(0, _WINDOW), target.new_zeros(0, _WINDOW)
    # Without the last sample: the authors' loop leaves out a frame that ends with it.
    pair = [one[:-1].unfold(0, _WINDOW, _HOP) * window for one in (estimate, target)]
    energy = pair[1].square().sum(-1)
    active = energy > energy.max() * 10 ** (-_DYNAMICS_DB / 10)
    made, wanted = (_joined(frames[active]) * window for frames in pair)
    return made, wanted


def _joined(frames: Float[Tensor, "frames window"]) -> Float[Tensor, "fewer window"]:
    """Overlap and add frames, and cut the sum into frames again, without the last one."""
    # With half overlap, each hop is the sum of two halves.
    halves = frames[:-1, _HOP:] + frames[1:, :_HOP]
    first = torch.cat([frames[:1, :_HOP], halves])[: len(halves)]
    return torch.cat([first, halves], dim=-1)


def _bands(frames: Float[Tensor, "frames window"]) -> Float[Tensor, "frames band"]:
    spectrum = torch.fft.rfft(frames, n=_N_FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    in_bands = power @ torch.from_numpy(_third_octaves()).to(power).T
    return damped((in_bands + _FLOOR).sqrt(), in_bands / (in_bands + _SOFT))


@lru_cache
def _third_octaves() -> np.ndarray:
    """Return which bins belong to each third of an octave: (band, freq)."""
    # Lower edges: a sixth of an octave below the centres.
    edges = _LOWEST_HZ * 2 ** ((2 * np.arange(_BANDS + 1) - 1) / 6)
    corner = np.rint(edges * _N_FFT / _RATE)[:, None]
    bins = np.arange(_N_FFT // 2 + 1)
    return ((bins >= corner[:-1]) & (bins < corner[1:])).astype(float)


def _norm(values: Tensor, axis: int) -> Tensor:
    return values.square().sum(axis, keepdim=True).sqrt()


def _unit(values: Tensor, axis: int) -> Tensor:
    """Remove the mean and divide by the norm."""
    centred = values - values.mean(axis, keepdim=True)
    # The second term keeps the gradient finite for a constant envelope, whose centred values are rounding errors.
    squared = centred.square() + (_STEADY * values).square()
    return centred / (squared.sum(axis, keepdim=True) + 1e-12).sqrt()

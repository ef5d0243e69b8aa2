"""A loss after PESQ: the disturbances of P.862 frame by frame, with their gradient."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rased.losses.base import Loss
from rased.losses.level import mean_of_sounding, normalised
from rased.signal.domains import Waveform
from rased.signal.features import power
from rased.signal.resampling import resample
from rased.signal.stft import STFT

_RATE = 16_000
_TRANSFORM = STFT(512, 256, 512, "sqrt_hann")
Bark = Float[Tensor, "batch frames band"]
Frames = Float[Tensor, "batch frames"]

# Tables of ITU-T P.862 for 16 kHz, one number for each of the 49 bands.
_BINS = [*[1] * 8, 2, *[1] * 5, 2, 1, 1, *[2] * 8, 3, 3, 3, 3, 4, 3, 4, 5, 4, 5, 6, 6, 7]
_BINS += [8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20]
"""Bins of the spectrum in each band."""
# fmt: off
_DENSITY = [
    100.0, 99.999992, 100.0, 100.000008, 100.000008, 100.000015, 99.999992, 99.999969, 50.000027, 100.0,
    99.999969, 100.000015, 99.999947, 100.000061, 53.047077, 110.000046, 117.991989, 65.0, 68.760147, 69.999931,
    71.428818, 75.000038, 76.843384, 80.968781, 88.646126, 63.864388, 68.15535, 72.547775, 75.584831, 58.379192,
    80.950836, 64.135651, 54.384785, 73.821884, 64.437073, 59.176456, 65.521278, 61.399822, 58.144047, 57.004543,
    64.126297, 54.311001, 61.114979, 55.077751, 56.849335, 55.628868, 53.137054, 54.985844, 79.546974,
]
"""Correction of the power density."""
_THRESHOLD_DB = [
    77.1, 63.9, 48.5, 36.9, 30.7, 25.9, 20.2, 16.6, 12.5, 9.9, 6.9, 4.9, 2.8, 1.0, -0.1, -1.4, -2.5, -3.4, -4.1,
    -4.8, -5.3, -5.7, -5.9, -6.0, -6.0, -6.0, -6.0, -5.8, -5.4, -5.1, -4.7, -4.3, -4.0, -3.6, -3.3, -3.1, -3.0, -3.0,
    -2.9, -2.8, -2.8, -2.8, -2.9, -3.2, -3.7, -4.3, -4.4, -3.8, -2.7,
]
"""Threshold of hearing."""
_WIDTH = [
    0.157344, 0.317994, 0.322441, 0.326934, 0.331474, 0.336061, 0.340697, 0.345381, 0.350114, 0.354897, 0.359729,
    0.364611, 0.369544, 0.374529, 0.379565, 0.384653, 0.389794, 0.394989, 0.400236, 0.405538, 0.410894, 0.416306,
    0.421773, 0.427297, 0.432877, 0.438514, 0.444209, 0.449962, 0.455774, 0.461645, 0.467577, 0.473569, 0.479621,
    0.485736, 0.491912, 0.498151, 0.504454, 0.510819, 0.51725, 0.523745, 0.530308, 0.536934, 0.543629, 0.55039,
    0.55722, 0.564119, 0.571085, 0.578125, 0.585232,
]
"""Width in Bark."""
# fmt: on
_POWER_SCALE, _LOUDNESS_SCALE = 6.910853e-6, 1.866055e-1
_LISTENING_LEVEL = 1e7
_TINY = 1e-8


class PMSQE(Loss):
    """A differentiable stand-in for PESQ: symmetric and asymmetric disturbance of loudness, frame by frame.

    J. M. Martín-Doñas, A. M. Gomez, J. A. Gonzalez, A. M. Peinado, "A deep learning loss function based on the
    perceptual evaluation of the speech quality", IEEE SPL 25(11), 2018, doi:10.1109/LSP.2018.2871419. As in ITU-T
    P.862, both signals are brought to one listening level, their spectra to 49 Bark bands, and these to loudness;
    the estimate is equalised by band and by frame. Then, for each frame, 0.1 D + 0.0309 D_A: D is the norm of the
    masked difference of loudness, D_A that of what was added, each at most 45. The mean over frames is what the
    raw PESQ score (P.862 without time alignment and its norms over time) loses from 4.5. The level of the estimate
    is free: add a loss that holds it. An item with a silent target has no quality and counts 0.

    Args:
        sample_rate: of the waveforms, in Hz; they are resampled to 16 kHz.
    """

    optimises = ("pesq-wb", "pesq-nb")
    degree = 0.0
    level_free = True

    def __init__(self, sample_rate: int = _RATE) -> None:
        super().__init__()
        self.sample_rate = self._rate = sample_rate

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return a value between 0 and 5.9."""
        made, wanted = (_bark(resample(one, self._rate, _RATE)) for one in (estimate, target))
        threshold = _table(_thresholds(), made)
        made = made * _band_gain(made, wanted, threshold)
        audible = _audible(wanted, threshold)
        # These constants, and those of the functions below, are those of the reference code of P.862.
        gain = (audible + 5e3) / (_audible(made, threshold) + 5e3)
        made = made * gain.clamp(3e-4, 5.0)[..., None]
        weight = ((audible + 1e5) / 1e7) ** 0.04
        symmetric, added = (
            (one / weight).clamp(max=45.0) for one in _disturbances(made, wanted, threshold)
        )
        return mean_of_sounding((0.1 * symmetric + 0.0309 * added).mean(-1), target)


def _bark(waveform: Waveform) -> Bark:
    """Return the power in Bark bands at the listening level."""
    spectrum = power(_TRANSFORM.analysis(normalised(waveform))).transpose(1, 2)
    telephone = _table(_telephone_band(), spectrum)
    level = (spectrum * telephone).mean(2).mean(1)
    spectrum = spectrum * (_LISTENING_LEVEL / (level + 1e-6))[:, None, None]
    return spectrum @ _table(_bark_bands(), spectrum)


def _band_gain(estimate: Bark, target: Bark, threshold: Tensor) -> Float[Tensor, "batch 1 band"]:
    """Return the gain of each band that compensates a linear filter, from frames with speech."""
    clear = target >= 100 * threshold
    # 1e7: frames below it are silent for P.862.
    speech = (target * (target > 100 * threshold)).sum(-1, keepdim=True) >= 1e7
    wanted, made = ((one * (clear & speech)).sum(1, keepdim=True) for one in (target, estimate))
    return ((wanted + 1e3) / (made + 1e3)).clamp(0.01, 100.0)


def _audible(bark: Bark, threshold: Tensor) -> Frames:
    return (bark * (bark > threshold)).sum(-1)


def _loudness(bark: Bark, threshold: Tensor) -> Bark:
    """Return the loudness density in sone (Zwicker), 0 below the threshold of hearing."""
    exponent = _table(_exponents(), bark)
    # Clamped, so that the density is 0 at and below the threshold.
    ratio = (bark / threshold).clamp(min=1.0)
    return _LOUDNESS_SCALE * (threshold / 0.5) ** exponent * ((0.5 + 0.5 * ratio) ** exponent - 1)


def _disturbances(estimate: Bark, target: Bark, threshold: Tensor) -> tuple[Frames, Frames]:
    """Return the symmetric and the asymmetric disturbance of each frame."""
    loud, wanted = _loudness(estimate, threshold), _loudness(target, threshold)
    # The dead zone of P.862: smaller differences are masked.
    masked = ((loud - wanted).abs() - 0.25 * torch.minimum(loud, wanted)).clamp(min=0.0)
    # Large only where the estimate has added power: it disturbs more than what is missing.
    asymmetry = ((estimate + 50) / (target + 50)) ** 1.2
    factor = torch.where(asymmetry < 3, 0.0, asymmetry.clamp(max=12.0))
    width = _table(np.array(_WIDTH), estimate)
    # P.862's norm with p = 2, and below with p = 1, weighted by the width of the bands.
    symmetric = ((masked * width).square().sum(-1) + _TINY).sqrt() * width.sum().sqrt()
    return symmetric, (factor * masked * width).sum(-1)


def _table(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values).to(like)


def _thresholds() -> np.ndarray:
    return 10 ** (np.array(_THRESHOLD_DB) / 10)


def _exponents() -> np.ndarray:
    """Return the exponent of each band: 0.23, more in the lowest ones."""
    centre = np.cumsum(_WIDTH) - np.array(_WIDTH) / 2
    # More only below 4 Bark, where the ratio exceeds 1.
    return 0.23 * np.clip(6 / (centre + 2), 1, 2) ** 0.15


@lru_cache
def _bark_bands() -> np.ndarray:
    """Return the share of each bin in each band: (freq, band)."""
    shares = np.zeros((_TRANSFORM.freq, len(_BINS)))
    for band, last in enumerate(np.cumsum(_BINS)):
        shares[last - _BINS[band] : last, band] = _POWER_SCALE * _DENSITY[band]
    return shares


@lru_cache
def _telephone_band() -> np.ndarray:
    """Return weights of bins, which give the power between 350 and 3250 Hz of a spectrum in a root Hann window."""
    weights = np.zeros(_TRANSFORM.freq)
    weights[12:104] = 1.0
    weights[11], weights[104] = 0.4, 0.5
    return weights * 2.0 * (_TRANSFORM.n_fft + 2) / _TRANSFORM.n_fft**2

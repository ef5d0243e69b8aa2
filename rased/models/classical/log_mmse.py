"""Log-spectral amplitude estimation with tracked noise: denoising without training.

Paper: Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error log-spectral
amplitude estimator", IEEE TASSP 33(2), 1985, 10.1109/TASSP.1985.1164550. The prior SNR is decided
directed, as in their 1984 paper. Noise: T. Gerkmann, R. Hendriks, "Unbiased MMSE-based noise power
estimation with low complexity and low tracking delay", IEEE TASLP 20(4), 2012,
10.1109/TASL.2011.2180896. Where this code differs: the first frames that hold sound start the
noise estimate as a running mean, and the gain is weighed with the speech presence probability
against its floor, as in I. Cohen, B. Berdugo, "Speech enhancement for non-stationary noise
environments", Signal Processing 81(11), 2001. The defaults were chosen on validation data.

No parameters; about 40 operations per bin and frame.
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Complex, Float32
from torch import Tensor

from rased.models.base import SpectralEnhancer, SpectralPrediction
from rased.signal.stft import STFT

TINY = 1e-12
"""Power of a bin (far below one 16-bit step) that counts as no sound."""

EXPECTED = 10**1.5
"""Power of speech over noise that the presence of speech assumes: 15 dB, as in the 2012 paper."""

# Frames come one after another, and numpy is several times faster than torch on one short row.
Row = Float32[np.ndarray, "batch freq"]
NoiseState = tuple[Tensor, Tensor, Tensor, Tensor]
"""Noise power, smoothed speech presence, power of the last enhanced frame, each (batch, freq), and
frames with sound, (batch, 1)."""


def exponential_integral(value: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """E1(v), the integral of exp(-t) / t from v > 0 to infinity, within 5e-5 of the truth.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 5.1.53 and 5.1.54.
    """
    small = np.clip(value, 1e-10, 1.0)
    series = np.float32(0.00107857)
    for coefficient in (-0.00976004, 0.05519968, -0.24991055, 0.99999193, -0.57721566):
        series = series * small + np.float32(coefficient)
    large = np.clip(value, 1.0, 80.0)
    fraction = (large * (large + 2.334733) + 0.250621) / (large * (large + 3.330657) + 1.681534)
    return np.where(value <= 1.0, series - np.log(small), fraction * np.exp(-large) / large)


def log_mmse_gain(
    prior: Float32[np.ndarray, "*shape"], posterior: Float32[np.ndarray, "*shape"]
) -> Float32[np.ndarray, "*shape"]:
    """The gain that minimises the error of the log amplitude: equation 20 of the paper.

    Args:
        prior: expected SNR (power) before the frame is seen.
        posterior: power of the frame over the power of the noise.
    """
    wiener = prior / (1 + prior)
    return wiener * np.exp(0.5 * exponential_integral(wiener * posterior))


class LogMMSE(SpectralEnhancer):
    """Log-MMSE with decision-directed prior SNR and MMSE noise tracking; causal, frame by frame.

    Args:
        n_fft: samples in a frame.
        hop_length: samples between frames.
        smoothing: share of the last frame's result in the prior SNR.
        prior_floor_db: smallest prior SNR.
        gain_floor_db: smallest gain.
        noise_smoothing: share of the last noise estimate in the next.
        presence_weight: 0: the gain alone; 1: weighed with the speech presence probability.
        start: seconds of sound that start the noise estimate.
        sample_rate: Hz.
    """

    paper = (
        "Ephraim, Malah: Speech enhancement using a minimum mean-square error log-spectral "
        "amplitude estimator, IEEE TASSP 33(2), 1985, 10.1109/TASSP.1985.1164550"
    )
    published_parameters = None

    def __init__(
        self,
        *,
        n_fft: int = 512,
        hop_length: int = 128,
        smoothing: float = 0.92,
        prior_floor_db: float = -20.0,
        gain_floor_db: float = -14.0,
        noise_smoothing: float = 0.9,
        presence_weight: float = 0.0,
        start: float = 0.05,
        sample_rate: int = 16_000,
    ) -> None:
        stft = STFT(n_fft=n_fft, hop_length=hop_length, win_length=n_fft, window="sqrt_hann")
        super().__init__(stft=stft, sample_rate=sample_rate)
        self.smoothing = smoothing
        self.prior_floor = 10 ** (prior_floor_db / 10)
        self.gain_floor = 10 ** (gain_floor_db / 20)
        self.noise_smoothing = noise_smoothing
        self.presence_weight = presence_weight
        self.start = max(1.0, start * sample_rate / hop_length)

    def initial_process_state(self, batch: int) -> NoiseState:
        """Nothing heard yet."""
        noise, clean = torch.zeros(2, batch, self.stft.freq)
        return noise, torch.full_like(noise, 0.5), clean, torch.zeros(batch, 1)

    @torch.no_grad()
    def process(
        self, spectrum: Complex[Tensor, "batch freq frames"], state: NoiseState
    ) -> tuple[SpectralPrediction, NoiseState]:
        """Frame by frame: presence and noise, prior SNR, gain."""
        power = rearrange(spectrum.abs().square(), "batch freq frames -> frames batch freq")
        noise, presence, clean, heard = (part.cpu().numpy() for part in state)
        gains = np.empty(power.shape, dtype=np.float32)
        for index, frame in enumerate(power.cpu().numpy()):
            probability, noise, presence, heard = self._track(frame, noise, presence, heard)
            floor = np.maximum(noise, TINY)
            posterior = np.clip(frame / floor, 1e-3, 1e4)
            prior = self.smoothing * clean / floor
            prior += (1 - self.smoothing) * np.maximum(posterior - 1, 0)
            gain = log_mmse_gain(np.clip(prior, self.prior_floor, 1e4), posterior)
            gain = np.minimum(gain, 1.0)
            clean = gain * gain * frame
            gain = np.maximum(gain, self.gain_floor)
            if self.presence_weight:
                weight = 1 - self.presence_weight * (1 - probability)
                gain = gain**weight * self.gain_floor ** (1 - weight)
            gains[index] = gain
        mask = rearrange(torch.from_numpy(gains), "frames batch freq -> batch freq frames")
        mask = mask.to(spectrum.device)
        after: NoiseState = (
            torch.from_numpy(noise),
            torch.from_numpy(presence),
            torch.from_numpy(clean),
            torch.from_numpy(heard),
        )
        return SpectralPrediction(mask * spectrum, mask), after

    def _track(
        self, frame: Row, noise: Row, presence: Row, heard: Float32[np.ndarray, "batch 1"]
    ) -> tuple[Row, Row, Row, Float32[np.ndarray, "batch 1"]]:
        """Speech presence probability, noise power, smoothed presence, frames heard.

        Presence takes speech and its absence for equally likely: equation 18 of the 2012 paper. A
        bin in which speech seems present for long is noise after all.
        """
        posterior = np.minimum(frame / np.maximum(noise, TINY), 60.0)
        likelihood = (1 + EXPECTED) * np.exp(-posterior * (EXPECTED / (1 + EXPECTED)))
        probability = 1 / (1 + likelihood)
        presence = 0.9 * presence + 0.1 * probability
        probability = np.where(presence > 0.99, np.minimum(probability, 0.99), probability)
        guess = probability * noise + (1 - probability) * frame
        tracked = self.noise_smoothing * noise + (1 - self.noise_smoothing) * guess

        sounds = (frame.mean(-1, keepdims=True) > TINY).astype(np.float32)
        starting = (heard < self.start).astype(np.float32)
        started = noise + (frame - noise) * sounds / (heard + 1)
        noise = np.where(starting > 0, started, tracked)
        return probability, noise, presence, heard + sounds * starting

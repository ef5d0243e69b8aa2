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

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from rased.models.base import SpectralEnhancer, SpectralPrediction
from rased.signal.stft import STFT

TINY = 1e-12
"""Power of a bin (far below one 16-bit step) that counts as no sound."""

NoiseState = tuple[
    Float[Tensor, "batch freq"],
    Float[Tensor, "batch freq"],
    Float[Tensor, "batch freq"],
    Float[Tensor, "batch 1"],
]
"""Noise power, smoothed speech presence, power of the last enhanced frame, frames with sound."""


def exponential_integral(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """E1(v), the integral of exp(-t) / t from v > 0 to infinity, within 5e-5 / v of the truth.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 5.1.53 and 5.1.54.
    """
    small = value.clamp(1e-10, 1.0)
    series = torch.full_like(value, 0.00107857)
    for coefficient in (-0.00976004, 0.05519968, -0.24991055, 0.99999193, -0.57721566):
        series = series * small + coefficient
    large = value.clamp(1.0, 80.0)
    fraction = (large * (large + 2.334733) + 0.250621) / (large * (large + 3.330657) + 1.681534)
    return torch.where(value <= 1.0, series - small.log(), fraction * (-large).exp() / large)


def log_mmse_gain(
    prior: Float[Tensor, "*shape"], posterior: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The gain that minimises the error of the log amplitude: equation 20 of the paper.

    Args:
        prior: expected SNR (power) before the frame is seen.
        posterior: power of the frame over the power of the noise.
    """
    wiener = prior / (1 + prior)
    return wiener * (0.5 * exponential_integral(wiener * posterior)).exp()


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
        smoothing: float = 0.98,
        prior_floor_db: float = -20.0,
        gain_floor_db: float = -20.0,
        noise_smoothing: float = 0.8,
        presence_weight: float = 1.0,
        start: float = 0.1,
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
        zeros = torch.zeros(batch, self.stft.freq)
        return zeros, zeros + 0.5, zeros.clone(), torch.zeros(batch, 1)

    @torch.no_grad()
    def process(
        self, spectrum: Complex[Tensor, "batch freq frames"], state: NoiseState
    ) -> tuple[SpectralPrediction, NoiseState]:
        """Frame by frame: presence and noise, prior SNR, gain."""
        noise, presence, clean, heard = (part.to(spectrum.device) for part in state)
        power = spectrum.abs().square()
        gains = []
        for frame in power.unbind(-1):
            probability, noise, presence, heard = self._track(frame, noise, presence, heard)
            floor = noise.clamp_min(TINY)
            posterior = (frame / floor).clamp(1e-3, 1e4)
            prior = self.smoothing * clean / floor + (1 - self.smoothing) * (posterior - 1).relu()
            gain = log_mmse_gain(prior.clamp(self.prior_floor, 1e4), posterior).clamp(max=1.0)
            clean = gain.square() * frame
            weight = 1 - self.presence_weight * (1 - probability)
            gains.append(
                gain.clamp_min(self.gain_floor) ** weight * self.gain_floor ** (1 - weight)
            )
        mask = torch.stack(gains, dim=-1)
        return SpectralPrediction(mask * spectrum, mask), (noise, presence, clean, heard)

    def _track(
        self,
        frame: Float[Tensor, "batch freq"],
        noise: Float[Tensor, "batch freq"],
        presence: Float[Tensor, "batch freq"],
        heard: Float[Tensor, "batch 1"],
    ) -> tuple[
        Float[Tensor, "batch freq"],
        Float[Tensor, "batch freq"],
        Float[Tensor, "batch freq"],
        Float[Tensor, "batch 1"],
    ]:
        """Speech presence probability, noise power, smoothed presence, frames heard.

        Presence assumes speech 15 dB above the noise and as likely as its absence: equation 18 of
        Gerkmann and Hendriks. A bin in which speech seems present for long is noise after all.
        """
        expected = 10**1.5
        posterior = frame / noise.clamp_min(TINY)
        exponent = (posterior * (expected / (1 + expected))).clamp(max=60.0)
        probability = 1 / (1 + (1 + expected) * (-exponent).exp())
        presence = 0.9 * presence + 0.1 * probability
        probability = torch.where(presence > 0.99, probability.clamp(max=0.99), probability)
        guess = probability * noise + (1 - probability) * frame
        tracked = torch.lerp(guess, noise, self.noise_smoothing)

        sounds = (frame.mean(-1, keepdim=True) > TINY).to(frame)
        starting = heard < self.start
        mean = noise + (frame - noise) * sounds / (heard + 1)
        noise = torch.where(starting, mean, torch.where(sounds > 0, tracked, noise))
        return probability, noise, presence, heard + sounds * starting

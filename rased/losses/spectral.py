"""Losses on the complex spectrum, and a wrapper that applies them to waveforms."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rased.errors import RasedError
from rased.losses.base import Loss
from rased.signal.domains import Bins, Spectrum, Waveform
from rased.signal.features import power
from rased.signal.stft import STFT

FLOOR = 1e-8
"""A bin with less power counts as silent."""
SILENT = 1e-4
"""A spectrum with less mean power counts as silent: with 512 points, a waveform below about -64 dB full scale."""


class SpectralLoss(Loss):
    """Base class of losses on complex spectra (batch, freq, frames)."""

    domain = "spectrum"


class Magnitude(SpectralLoss):
    """Mean squared difference of the magnitudes."""

    degree = 2.0

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value of at least 0."""
        return (_magnitude(estimate) - _magnitude(target)).square().mean()


class LogMagnitude(SpectralLoss):
    """Mean absolute difference of the natural logarithms of the magnitudes."""

    degree = 0.0

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value of at least 0; power below `FLOOR` counts as `FLOOR`."""
        return (_magnitude(estimate).log() - _magnitude(target).log()).abs().mean()


class LogPower(SpectralLoss):
    """Mean squared difference of log-powers (Xu, Du, Dai, Lee, IEEE SPL 2014): a log-spectral distance."""

    degree = 0.0

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value of at least 0; power below `FLOOR` counts as `FLOOR`."""
        return (2 * (_magnitude(estimate).log() - _magnitude(target).log())).square().mean()


class ComplexMSE(SpectralLoss):
    """Mean squared distance in the complex plane."""

    degree = 2.0

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value of at least 0."""
        return torch.view_as_real(estimate - target).square().sum(-1).mean()


class CompressedSpectrum(SpectralLoss):
    """Weighted sum of magnitude and complex distances after power-law compression.

    S. Braun, I. Tashev, "Data augmentation and loss normalization for deep noise suppression", SPECOM 2020
    (arXiv 2008.06412): (1 - alpha) | |E|^c - |S|^c |^2 + alpha | |E|^c e^(j arg E) - |S|^c e^(j arg S) |^2, after
    dividing both spectra by the level of the target. The level is the rms of the target's spectrum here, not an
    active speech level.

    Args:
        exponent: c.
        complex_share: alpha.
        normalise: divide both by the rms of each target, so that quiet mixtures have the same weight as loud ones.
            A target with a mean power below `SILENT` is compared as it is: for silence, an estimate costs as much as
            it is loud.
        asymmetry: factor on the magnitude difference where the estimate is below the target. Above 1,
            removing speech costs more than leaving noise (Wang et al., "VoiceFilter-Lite",
            Interspeech 2020, arXiv 2009.04323, g_asym).
    """

    def __init__(
        self,
        exponent: float = 0.3,
        complex_share: float = 0.3,
        normalise: bool = True,
        asymmetry: float = 1.0,
    ) -> None:
        super().__init__()
        self.exponent, self.complex_share, self.normalise = exponent, complex_share, normalise
        self.asymmetry = asymmetry
        self.degree = 0.0 if normalise else 2 * exponent

    def forward(self, *, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        """Return a value of at least 0."""
        if self.normalise:
            level = power(target).mean((1, 2), keepdim=True)
            # 1: as it is.
            gain = torch.where(level < SILENT, 1.0, level).rsqrt()
            estimate, target = estimate * gain, target * gain
        estimate_magnitude, target_magnitude = _magnitude(estimate), _magnitude(target)
        difference = estimate_magnitude**self.exponent - target_magnitude**self.exponent
        if self.asymmetry != 1:
            # Below 0: speech was removed.
            difference = torch.where(difference < 0, self.asymmetry * difference, difference)
        distance = torch.view_as_real(
            # |E|^c e^(j arg E) without an angle, whose gradient is not finite at 0.
            estimate * estimate_magnitude ** (self.exponent - 1)
            - target * target_magnitude ** (self.exponent - 1)
        )
        return (1 - self.complex_share) * difference.square().mean() + (
            self.complex_share * distance.square().sum(-1).mean()
        )


class OnSTFT(Loss):
    """Applies a spectral loss to the spectra of two waveforms.

    Args:
        loss: the spectral loss.
        stft: the transform.
    """

    def __init__(self, loss: SpectralLoss, stft: STFT = STFT()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.loss, self.stft = loss, stft
        self.degree, self.level_free = loss.degree, loss.level_free

    @property
    def label(self) -> str:
        """Return the label of the spectral loss."""
        return self.loss.label

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return the value of the spectral loss."""
        return self.loss(estimate=self.stft.analysis(estimate), target=self.stft.analysis(target))


class MultiResolutionSTFT(Loss):
    """Spectral convergence and log-magnitude distance, averaged over several transforms.

    R. Yamamoto, E. Song, J.-M. Kim, "Parallel WaveGAN", ICASSP 2020 (arXiv 1910.11480). The window is Hann, and the
    transform is `STFT`; each resolution is (n_fft, hop_length, win_length) in samples. The convergence divides
    the distance of the magnitudes by the norm of the louder signal, instead of the target as in the paper. This is
    the same unless the estimate is louder, and is at most 1 for a silent target. The mean power in the denominator
    is at least 1e-6.

    Args:
        resolutions: [n_fft, hop_length, win_length] of each transform.

    Raises:
        RasedError: no resolution, or an invalid one.
    """

    degree = 0.0

    def __init__(
        self,
        resolutions: Sequence[tuple[int, int, int]] = (
            (512, 128, 512),
            (1024, 256, 1024),
            (2048, 512, 2048),
        ),
    ) -> None:
        super().__init__()
        if not resolutions:
            raise RasedError(
                "MultiResolutionSTFT needs at least one [n_fft, hop_length, win_length]."
            )
        self.transforms = [STFT(n_fft, hop, win, "hann") for n_fft, hop, win in resolutions]
        self.log_magnitude = LogMagnitude()

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return a value of at least 0."""
        terms = [
            self._one(stft.analysis(estimate), stft.analysis(target)) for stft in self.transforms
        ]
        return torch.stack(terms).mean()

    def _one(self, estimate: Spectrum, target: Spectrum) -> Float[Tensor, ""]:
        difference = (_magnitude(estimate) - _magnitude(target)).square().sum((1, 2))
        energies = [_magnitude(one).square().sum((1, 2)) for one in (estimate, target)]
        energy = torch.maximum(*energies).clamp(min=_QUIETEST * target[0].numel())
        # The floor keeps the gradient of the root finite for equal magnitudes.
        convergence = ((difference + FLOOR) / energy).sqrt().mean()
        return convergence + self.log_magnitude(estimate=estimate, target=target)


_QUIETEST = 1e-6
"""Smallest mean power of a spectrum that is used for normalisation."""


def _magnitude(spectrum: Spectrum) -> Bins:
    """Return sqrt(power + FLOOR), whose gradient is finite everywhere."""
    return (power(spectrum) + FLOOR).sqrt()

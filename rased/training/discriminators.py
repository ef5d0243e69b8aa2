"""Discriminators: networks that score how good an estimate is, given the noisy mixture or the target.

ConditionalDiscriminator follows S. Pascual, A. Bonafonte, J. Serra, "SEGAN", Interspeech 2017: candidate and mixture
are the two channels of a strided convolutional network. Here the scores are averaged over time instead of joined by a
layer of fixed length, so that any length works, and layer normalisation replaces virtual batch normalisation.
UnpairedDiscriminator is the same without the mixture.

MetricDiscriminator is that of R. Cao, S. Abdulatif, B. Yang, "CMGAN", Interspeech 2022, which MP-SENet shares: it
sees the compressed magnitudes of target and candidate and predicts a metric between 0 and 1. Here both are divided by
the level of the target, where the authors use that of the mixture.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from rased.construction import Remembered
from rased.signal.domains import Waveform
from rased.signal.features import compressed_magnitude
from rased.signal.stft import STFT


class Discriminator(Remembered, nn.Module):
    """Base class: scores a batch of candidates of any length."""

    def forward(
        self, candidate: Waveform, *, noisy: Waveform, target: Waveform
    ) -> Float[Tensor, " batch"]:
        """Return a score for each candidate, high for clean speech.

        Args:
            candidate: the target itself, or an estimate of it.
            noisy: the mixture, in its first channel.
            target: the clean speech.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define forward(candidate, noisy=, target=)"
        )


class _Strided(Discriminator):
    """Strided convolutions over time.

    Attributes:
        inputs: signals beside each other.
    """

    inputs: ClassVar[int]

    def __init__(
        self,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        stride: int = 4,
        kernel_size: int = 31,
    ) -> None:
        """Build the convolutions.

        Args:
            channels: of each convolution.
            stride: of each convolution.
            kernel_size: of each convolution, odd.
        """
        super().__init__()
        self.layers = _strided(self.inputs, channels, stride, kernel_size)


class ConditionalDiscriminator(_Strided):
    """Scores a candidate beside the noisy mixture."""

    inputs = 2

    def forward(
        self, candidate: Waveform, *, noisy: Waveform, target: Waveform
    ) -> Float[Tensor, " batch"]:
        """Return the mean score over time."""
        return self.layers(torch.stack((candidate, noisy), dim=1)).mean((1, 2))


class UnpairedDiscriminator(_Strided):
    """Scores a candidate alone, for trainings without pairs."""

    inputs = 1

    def forward(
        self, candidate: Waveform, *, noisy: Waveform, target: Waveform
    ) -> Float[Tensor, " batch"]:
        """Return the mean score over time; the mixture and the target are not used."""
        return self.layers(candidate[:, None]).mean((1, 2))


class MetricDiscriminator(Discriminator):
    """Predicts a metric of a candidate from the magnitudes of candidate and target.

    Args:
        channels: of the first convolution; each of the four has twice as many as the one before.
        dropout: before the last layer.
        exponent: compression of the magnitudes.
        stft: transform.
    """

    def __init__(
        self,
        channels: int = 16,
        dropout: float = 0.3,
        exponent: float = 0.3,
        stft: STFT = STFT(400, 100, 400),  # noqa: B008 - a frozen value
    ) -> None:
        super().__init__()
        self.stft, self.exponent = stft, exponent
        layers: list[nn.Module] = []
        for given, made in pairwise((2, *(channels * 2**depth for depth in range(_HALVINGS)))):
            # Halves both axes.
            conv = nn.Conv2d(given, made, 4, 2, padding=1, bias=False)
            layers += [spectral_norm(conv), nn.InstanceNorm2d(made, affine=True), nn.PReLU(made)]
        self.layers = nn.Sequential(
            *layers,
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            spectral_norm(nn.Linear(8 * channels, 4 * channels)),
            nn.Dropout(dropout),
            nn.PReLU(4 * channels),
            spectral_norm(nn.Linear(4 * channels, 1)),
        )
        # The learnable sigmoid of CMGAN.
        self.slope = nn.Parameter(torch.ones(1))

    def forward(
        self, candidate: Waveform, *, noisy: Waveform, target: Waveform
    ) -> Float[Tensor, " batch"]:
        """Return a value between 0 and 1; the mixture is not used."""
        level = target.square().mean(-1, keepdim=True).sqrt().clamp(min=_QUIETEST)
        both = torch.stack([self._magnitudes(part / level) for part in (target, candidate)], dim=1)
        return (self.slope * self.layers(both)).sigmoid()[:, 0]

    def _magnitudes(self, waveform: Waveform) -> Float[Tensor, "batch freq frames"]:
        found = compressed_magnitude(self.stft.analysis(waveform), self.exponent)
        # A short excerpt still needs one frame after the last halving.
        return functional.pad(found, (0, max(0, 2**_HALVINGS - found.shape[-1])))


def _strided(inputs: int, channels: Sequence[int], stride: int, kernel_size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for given, made in pairwise((inputs, *channels)):
        layers += [
            nn.Conv1d(given, made, kernel_size, stride, padding=kernel_size // 2, bias=False),
            # One group: layer normalisation over channels and time.
            nn.GroupNorm(1, made),
            nn.LeakyReLU(0.3),
        ]
    return nn.Sequential(*layers, nn.Conv1d(channels[-1], 1, 1))


_HALVINGS = 4
_QUIETEST = 1e-4
"""Level (rms) below which a target is not raised to full scale."""

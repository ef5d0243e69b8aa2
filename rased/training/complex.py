"""Train a network that estimates a complex spectrum, directly or by a complex mask.

K. Tan, D. Wang, "Learning complex spectral mapping with gated convolutional recurrent networks",
IEEE/ACM TASLP 2020; the compressed loss is that of Braun and Tashev 2020.
"""

from typing import ClassVar

from rased.losses.base import Domain, Loss
from rased.losses.spectral import CompressedSpectrum
from rased.training.base import Enhancement


class ComplexEnhancement(Enhancement):
    """Trains on the complex spectrum, or on the resulting waveform."""

    domains: ClassVar[tuple[Domain, ...]] = ("spectrum", "waveform", "output")

    def default_loss(self) -> Loss:
        """Return the compressed complex and magnitude distances."""
        return CompressedSpectrum()

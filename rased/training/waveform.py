"""Train with a loss on the waveform, whatever domain the network works in.

Y. Luo, N. Mesgarani, "Conv-TasNet", IEEE/ACM TASLP 2019. Suits any enhancer, since only the estimate
is used.
"""

from typing import ClassVar

from rased.losses.base import Domain, Loss
from rased.losses.waveform import SNR
from rased.training.base import Enhancement


class WaveformEnhancement(Enhancement):
    """Trains on the estimated waveform."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform",)

    def default_loss(self) -> Loss:
        """Return the negative SNR: like SI-SDR, but it also trains the level of the output."""
        return SNR()

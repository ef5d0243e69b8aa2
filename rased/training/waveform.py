"""Story four: the loss is on the waveform, whatever the network works on.

Y. Luo, N. Mesgarani, "Conv-TasNet", IEEE/ACM TASLP 2019. Right for any enhancer: the estimate is
all that is looked at.
"""

from typing import ClassVar

from rased.losses.base import Domain, Loss
from rased.losses.waveform import SNR
from rased.training.base import Enhancement


class WaveformEnhancement(Enhancement):
    """Trains on the estimated waveform alone."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform",)

    def default_loss(self) -> Loss:
        """Negative SNR: as SI-SDR, and the output's level is learnt with it."""
        return SNR()

"""Train a network that estimates a mask.

Mask approximation compares it with the ideal mask (Wang, Narayanan, Wang, IEEE/ACM TASLP 2014).
Signal approximation compares the masked spectrum (Weninger et al., GlobalSIP 2014; with
phase: Erdogan et al., ICASSP 2015, `rased.losses.mask.PhaseSensitiveApproximation`).
"""

from rased.losses.base import Loss
from rased.losses.mask import OutputMSE
from rased.training.base import Enhancement


class MaskEnhancement(Enhancement):
    """Trains on the ideal mask, or with a loss on the masked spectrum or the waveform."""

    def default_loss(self) -> Loss:
        """Return the mask approximation loss."""
        return OutputMSE()

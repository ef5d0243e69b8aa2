"""Story one: the network estimates a mask.

Mask approximation compares it with the ideal mask (Wang, Narayanan, Wang, IEEE/ACM TASLP 2014);
signal approximation compares the spectrum that it gives (Weninger et al., GlobalSIP 2014; with
phase: Erdogan et al., ICASSP 2015, `rased.losses.mask.PhaseSensitiveApproximation`).
"""

from rased.losses.base import Loss
from rased.losses.mask import OutputMSE
from rased.training.base import Enhancement


class MaskEnhancement(Enhancement):
    """Trains on the ideal mask, or with a spectral or waveform loss on what the mask gives."""

    def default_loss(self) -> Loss:
        """Mask approximation."""
        return OutputMSE()

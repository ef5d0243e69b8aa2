"""Story two: the network maps features of the noisy spectrum to those of the target.

Y. Xu, J. Du, L.-R. Dai, C.-H. Lee, "An experimental study on speech enhancement based on deep
neural networks", IEEE SPL 2014: log-power regression with global normalisation, whose statistics
are taken from the first batches of the training stream.
"""

from rased.losses.base import Loss
from rased.losses.mask import OutputMSE
from rased.training.base import Enhancement


class MappingEnhancement(Enhancement):
    """Trains on the ideal output (log-power, magnitude), or on the spectrum that it gives."""

    def default_loss(self) -> Loss:
        """Regression in the domain of the output."""
        return OutputMSE()

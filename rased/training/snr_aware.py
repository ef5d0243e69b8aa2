"""Train an enhancer that knows how noisy its input is: it also estimates the signal-to-noise ratio.

S.-W. Fu, Y. Tsao, X. Lu, "SNR-aware convolutional neural network modeling for speech enhancement", Interspeech 2016:
restoring clean speech is the main task, and estimating the SNR a second one that shares the hidden layers.
"""

from typing import Any

from torch import nn

from rased.models.base import Enhancer
from rased.training.heads import SNRHead
from rased.training.multi_target import MultiTarget


class SNRAware(MultiTarget):
    """Trains an enhancer whose hidden features must tell the SNR of the input."""

    def __init__(
        self,
        enhancer: Enhancer,
        loss: nn.Module | None = None,
        layer: str | None = None,
        snr_weight: float = 0.1,
        range_db: tuple[float, float] = (-20.0, 40.0),
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train.
            loss: see `Enhancement`; None: negative SNR.
            layer: see `MultiTarget`.
            snr_weight: weight of the error of the estimated SNR, in units of 10 dB, beside the loss.
            range_db: range of the SNR; see `SNRHead`.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `MultiTarget`, or the range is empty.
        """
        super().__init__(enhancer, {"snr": SNRHead(range_db, snr_weight)}, loss, layer, **training)

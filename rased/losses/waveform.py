"""Losses on the waveform; the ratios are defined in `rased.signal.ratios`."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.losses.base import Loss
from rased.signal import ratios
from rased.signal.domains import Waveform


class SISDR(Loss):
    """Negative scale-invariant SDR in dB (Le Roux, Wisdom, Erdogan, Hershey, ICASSP 2019).

    Args:
        threshold_db: soft upper limit of the ratio; None: no limit.
    """

    optimises = ("si-sdr",)
    degree = 0.0
    level_free = True

    def __init__(self, threshold_db: float | None = None) -> None:
        super().__init__()
        self.threshold_db = threshold_db

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return a value between -100 and 100; 100 if one of the signals is silent."""
        ratio = ratios.si_sdr(estimate=estimate, target=target)
        return -_softly_limited(ratio, self.threshold_db).mean()


class SNR(Loss):
    """Negative SNR in dB: unlike SI-SDR, the level of the estimate counts.

    Args:
        threshold_db: soft upper limit of the ratio (Wisdom et al., "Unsupervised
            sound separation using mixture invariant training", NeurIPS 2020, arXiv 2006.12701: 30 dB);
            None: no limit.
    """

    optimises = ("snr", "si-sdr")
    degree = 0.0

    def __init__(self, threshold_db: float | None = 30.0) -> None:
        super().__init__()
        self.threshold_db = threshold_db

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return a value between -100 and 100; 100 if the target is silent."""
        ratio = ratios.snr(estimate=estimate, target=target)
        return -_softly_limited(ratio, self.threshold_db).mean()


class L1(Loss):
    """Mean absolute difference of the samples."""

    degree = 1.0

    def forward(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        """Return a value of at least 0, in units of full scale."""
        return (estimate - target).abs().mean()


def _softly_limited(
    ratio_db: Float[Tensor, " batch"], threshold_db: float | None
) -> Float[Tensor, " batch"]:
    """Return -10 log10(10^(-ratio / 10) + 10^(-threshold / 10)), which is at most the threshold."""
    if threshold_db is None:
        return ratio_db
    limit = torch.full_like(ratio_db, -threshold_db / 10)
    # In the logarithmic domain, where no power of ten can overflow.
    return -10 * torch.logaddexp(-ratio_db / 10 * _LN10, limit * _LN10) / _LN10


_LN10 = 2.302585092994046

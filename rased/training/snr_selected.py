"""Train one enhancer for each range of the SNR, and a network that estimates the SNR of the input.

S.-W. Fu, Y. Tsao, X. Lu, "SNR-aware convolutional neural network modeling for speech enhancement", Interspeech 2016,
the second algorithm: the ratio is estimated first, then the network for it is chosen. The first algorithm, in which
one network learns both tasks, is `rased.training.snr_aware`.
"""

from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.losses.base import Domain, Loss
from rased.losses.waveform import SNR
from rased.models.base import Prediction
from rased.models.selection import Choice, SNRSelection
from rased.training.base import Enhancement
from rased.training.heads import check_range, snr_db
from rased.training.suitable import check_numbers


class SNRSelected(Enhancement):
    """Trains each enhancer of an `SNRSelection` on the mixtures of its range, and the estimate of the SNR on all."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform", "spectrum")

    def __init__(
        self,
        enhancer: SNRSelection,
        loss: nn.Module | None = None,
        snr_weight: float = 1.0,
        range_db: tuple[float, float] = (-20.0, 40.0),
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the enhancers and the network.
            loss: see `Enhancement`; None: negative SNR.
            snr_weight: weight of the mean absolute error of the estimated SNR, in units of 10 dB.
            range_db: ratios beyond it count as its ends.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `Enhancement`, the weight is negative, or the range is empty.
        """
        super().__init__(enhancer, loss, **training)
        check_numbers("model", snr_weight=(snr_weight, 0, None))
        check_range(range_db)
        self.snr_weight, self.range_db = snr_weight, range_db

    def default_loss(self) -> Loss:
        """Return the negative SNR."""
        return SNR()

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss of the enhancer for the true SNR of each mixture, and `selection`, the error of the SNR."""
        selection, wanted = self.selection(trained=True), snr_db(batch, self.range_db)
        made = selection.choice(batch["noisy"])
        rows = torch.arange(len(wanted), device=wanted.device)
        spectrum = made.spectra[rows, selection.range_of(wanted)]
        estimate = selection.stft.synthesis(spectrum, batch["noisy"].shape[-1])
        terms = self.terms_of(Prediction(estimate, spectrum), batch)
        return {**terms, "selection": self.snr_weight * self._error(made, wanted)}

    def validate(self, batch: Mixture) -> dict[str, Tensor]:
        """Score a batch like `Enhancement`, and add the mean error of the SNR in units of 10 dB (`snr_error`)."""
        made = self.selection(trained=False).choice(batch["noisy"])
        error = self._error(made, snr_db(batch, self.range_db))
        return {**super().validate(batch), "snr_error": error}

    def selection(self, *, trained: bool) -> SNRSelection:
        """Return the enhancer that is trained, or the average of its weights."""
        return cast(SNRSelection, self.enhancer if trained else self.average)

    def _error(self, made: Choice, wanted: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
        estimated = cast(SNRSelection, self.enhancer).snr_db(made).float()
        return (estimated - wanted[:, None]).abs().mean() / 10

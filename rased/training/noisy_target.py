"""Train without clean speech: noisy recordings are the targets, and noisier ones the inputs.

T. Fujimura, Y. Koizumi, K. Yatabe, R. Miyazaki, "Noisy-target training: a training strategy for DNN-based speech
enhancement without clean speech", EUSIPCO 2021. The noise that is added comes from other mixtures of the batch; the
clean target of a mixture is used for validation alone.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.base import Loss
from rased.losses.waveform import SNR
from rased.models.base import Enhancer
from rased.signal.domains import Waveform
from rased.training.base import Enhancement
from rased.training.suitable import refuse_channels


class NoisyTarget(Enhancement):
    """Trains an enhancer to remove noise that was added to noisy recordings."""

    def __init__(
        self,
        enhancer: Enhancer,
        loss: nn.Module | None = None,
        added_db: tuple[float, float] = (-5.0, 5.0),
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train.
            loss: see `Enhancement`; None: negative SNR.
            added_db: range of the ratio of a noisy recording to the noise that is added to it.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `Enhancement`; the range is empty, or the enhancer has several channels.
        """
        refuse_channels(enhancer, type(self).__name__)
        if not -100 <= added_db[0] <= added_db[1] <= 100:
            raise RasedError(
                f"model.added_db is {list(added_db)}; give a range in dB, the lower end first, such as [-5, 5]."
            )
        super().__init__(enhancer, loss, **training)
        self.added_db = added_db

    def default_loss(self) -> Loss:
        """Return the negative SNR."""
        return SNR()

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss between the estimate from the noisier recordings and the noisy ones."""
        noisy = batch["noisy"]
        noisier: Mixture = {**batch, "noisy": noisy + self.added(batch), "target": noisy}
        return self.terms_of(self.trained_prediction(noisier), noisier)

    def added(self, batch: Mixture) -> Waveform:
        """Return the noise of the next row of the batch, at a random level below or above the recording."""
        noisy, noise = batch["noisy"], batch["noise"].roll(1, 0)
        low, high = self.added_db
        ratio_db = low + (high - low) * torch.rand(len(noisy), 1).to(noisy)
        level = noisy.square().mean(-1, keepdim=True) / noise.square().mean(-1, keepdim=True).clamp(
            min=_SILENT
        )
        return noise * (level * 10 ** (-ratio_db / 10)).sqrt()


_SILENT = 1e-12
"""Power below which noise is not raised any further."""

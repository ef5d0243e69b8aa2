"""Train without clean speech: noisy recordings are the targets, and noisier ones the inputs.

T. Fujimura, Y. Koizumi, K. Yatabe, R. Miyazaki, "Noisy-target training: a training strategy for DNN-based speech
enhancement without clean speech", EUSIPCO 2021. The noise that is added comes from another mixture of the batch; the
clean target of a mixture is used for validation alone.
"""

from typing import Any

import torch
from torch import nn

from rased.data.mixtures.sample import Mixture, further_noise
from rased.errors import RasedError
from rased.losses.base import Loss
from rased.losses.waveform import SNR
from rased.models.base import Enhancer
from rased.signal.domains import Waveform
from rased.signal.levels import SILENT
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

    def presented(self, batch: Mixture) -> Mixture:
        """Return the noisier recordings, with the noisy ones as their targets."""
        noisy = batch["noisy"]
        return {**batch, "noisy": noisy + self.added(batch), "target": noisy}

    def added(self, batch: Mixture) -> Waveform:
        """Return further noise for each row, at a random level below or above the recording.

        Noise below `SILENT` is not raised to a level.
        """
        noisy, noise = batch["noisy"], further_noise(batch)
        low, high = self.added_db
        # Drawn on the CPU, so that every device gets the same.
        ratio_db = low + (high - low) * torch.rand(len(noisy), 1).to(noisy)
        # Ratio of powers.
        level = noisy.square().mean(-1, keepdim=True) / noise.square().mean(-1, keepdim=True).clamp(
            min=SILENT**2
        )
        return noise * (level * 10 ** (-ratio_db / 10)).sqrt()

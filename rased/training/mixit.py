"""Train without clean speech on mixtures of mixtures: noisy speech and further noise, added up.

S. Wisdom, E. Tzinis, H. Erdogan, R. Weiss, K. Wilson, J. Hershey, "Unsupervised sound separation using mixture
invariant training", NeurIPS 2020, arXiv 2006.12701, section on speech enhancement: three estimates, of speech and of
two noises, add up to the input. The speech must explain the noisy recording, together with that one of the noises
which suits best; the other one must explain the further noise. Here the enhancer gives the speech, and a second one
parts what is left into two noises; it is needed for training alone.
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture, further_noise
from rased.losses.base import Domain, Loss
from rased.losses.waveform import SNR
from rased.models.base import Enhancer
from rased.signal.domains import Waveform
from rased.training.base import Enhancement
from rased.training.players import Player
from rased.training.suitable import refuse_as_second, refuse_channels


class MixIT(Enhancement):
    """Trains an enhancer, and a network that parts two noises, on sums of two recordings."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform",)

    def __init__(
        self,
        enhancer: Enhancer,
        noise_model: Enhancer,
        loss: nn.Module | None = None,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train.
            noise_model: estimates one of two noises from their sum; any enhancer.
            loss: compares sums of estimates with recordings; None: negative SNR up to 30 dB.
            training: the other arguments of `Enhancement`; optimiser and schedule count for both networks.

        Raises:
            RasedError: see `Enhancement`; one of the networks has several channels, or the second one needs statistics
                or conditions, which it would not get.
        """
        refuse_channels(enhancer, type(self).__name__)
        refuse_as_second(noise_model, "noise_model", type(self).__name__)
        super().__init__(enhancer, loss, **training)
        self.noise_model = noise_model

    def default_loss(self) -> Loss:
        """Return the negative SNR, up to 30 dB as in the paper."""
        return SNR(threshold_db=30.0)

    def players(self) -> list[Player]:
        """Return the enhancer and the network for the noises."""
        settings = replace(self.optimisation, lr_factors={})
        return [*super().players(), Player("noise", self.noise_model, settings)]

    def presented(self, batch: Mixture) -> Mixture:
        """Return the sums of a recording and further noise, with the recordings as their targets."""
        # Both are mixed at the levels of the data, without rescaling.
        recording = batch["noisy"].float()
        return {**batch, "noisy": recording + further_noise(batch).float(), "target": recording}

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss of the better assignment of each row; both networks minimise it."""
        both, further = self.presented(batch), further_noise(batch).float()
        recording = both["target"]
        speech = self.trained_prediction(both).estimate.float()
        rest = both["noisy"] - speech
        # What the enhancer leaves is parted, so that the three estimates add up to the input.
        one = self.noise_model(rest).float()
        with torch.autocast(rest.device.type, enabled=False):
            costs = self.costs(speech, (one, rest - one), recording, further)
        # The minimum over the assignments, row by row.
        return {"mixit": costs.amin(dim=1).mean()}

    def costs(
        self,
        speech: Waveform,
        noises: tuple[Waveform, Waveform],
        recording: Waveform,
        further: Waveform,
    ) -> Float[Tensor, "batch 2"]:
        """Return the loss of both assignments: the first or the second noise belongs to the recording."""
        first, second = noises
        return torch.stack(
            [
                self._rows(speech + first, recording) + self._rows(second, further),
                self._rows(speech + second, recording) + self._rows(first, further),
            ],
            dim=1,
        )

    def _rows(self, estimate: Waveform, target: Waveform) -> Float[Tensor, " batch"]:
        """Return the loss of each row."""
        # A loss returns the mean over a batch, but each row chooses its own assignment.
        pairs = zip(estimate.split(1), target.split(1), strict=True)
        return torch.stack([self.loss(estimate=one, target=other) for one, other in pairs])

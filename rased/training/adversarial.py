"""Train against a discriminator, which learns to tell clean speech from estimates.

S. Pascual, A. Bonafonte, J. Serra, "SEGAN: speech enhancement generative adversarial network", Interspeech 2017. Any
enhancer, any discriminator, any criterion. In each step the discriminator is updated first, then the enhancer by its
loss and, weighted, the criterion.
"""

from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture, reference
from rased.losses.adversarial import Criterion, LeastSquares
from rased.losses.base import Loss
from rased.losses.waveform import L1
from rased.models.base import Enhancer, Prediction
from rased.signal.domains import Waveform
from rased.training.base import Enhancement
from rased.training.discriminators import Discriminator
from rased.training.players import Player
from rased.training.suitable import check_numbers

DISCRIMINATOR = "discriminator"


class Adversarial(Enhancement):
    """Trains an enhancer and a discriminator in turn."""

    def __init__(
        self,
        enhancer: Enhancer,
        discriminator: Discriminator,
        loss: nn.Module | None = None,
        criterion: Criterion | None = None,
        adversarial_weight: float = 0.01,
        discriminator_lr: float | None = None,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train.
            discriminator: one of `rased.training.discriminators`.
            loss: see `Enhancement`; None: L1 of the waveform, as SEGAN.
            criterion: one of `rased.losses.adversarial`; None: least squares, as SEGAN.
            adversarial_weight: weight of the criterion beside the loss.
            discriminator_lr: learning rate of the discriminator; None: that of the enhancer.
            training: the other arguments of `Enhancement`; optimiser and schedule count for both players.

        Raises:
            RasedError: see `Enhancement`, or the weight is negative.
        """
        super().__init__(enhancer, loss, **training)
        check_numbers("model", adversarial_weight=(adversarial_weight, 0, None))
        self.discriminator = discriminator
        self.criterion = LeastSquares() if criterion is None else criterion
        self.adversarial_weight = adversarial_weight
        lr = self.optimisation.lr if discriminator_lr is None else discriminator_lr
        # The patterns of lr_factors name parameters of the enhancer.
        self._discriminating = replace(self.optimisation, lr=lr, lr_factors={})
        self._made: Prediction | None = None

    def default_loss(self) -> Loss:
        """Return the L1 distance of the waveforms."""
        return L1()

    def players(self) -> list[Player]:
        """Return the discriminator, then the enhancer."""
        return [Player(DISCRIMINATOR, self.discriminator, self._discriminating), *super().players()]

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the criterion for the discriminator, or the loss and the criterion for the enhancer.

        The enhancer runs once in a step: its own turn uses the estimates that the discriminator has judged.
        """
        if player == DISCRIMINATOR:
            # With its graph, which the turn of the enhancer differentiates.
            self._made = self.trained_prediction(batch)
            return self.judged(batch, self._made.estimate.detach().float())
        prediction, self._made = self._made or self.trained_prediction(batch), None
        # The discriminator gets a gradient here, too; Lightning clears it before the next backward pass.
        pleasing = self.criterion.please(self.scored(batch, prediction.estimate.float()))
        terms = self.terms_of(prediction, batch)
        return {**terms, "adversarial": self.adversarial_weight * pleasing}

    def _skip(self, player: Player) -> None:
        """Skip this step for a player; restored statistics make the graph of the estimates invalid."""
        super()._skip(player)
        self._made = None

    def judged(self, batch: Mixture, estimate: Waveform) -> dict[str, Float[Tensor, ""]]:
        """Return what the discriminator minimises for a batch and its estimates."""
        real = self.scored(batch, batch["target"].float())
        return self.criterion.discriminate(real=real, fake=self.scored(batch, estimate))

    def scored(self, batch: Mixture, candidate: Waveform) -> Float[Tensor, " batch"]:
        """Return the discriminator's scores of candidates for the targets of a batch, in float32."""
        noisy, target = reference(batch["noisy"]).float(), batch["target"].float()
        return self.discriminator(candidate, noisy=noisy, target=target).float()

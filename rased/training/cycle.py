"""Train without pairs: an enhancer and a degrader that undo each other, each against a discriminator.

Z. Meng, J. Li, Y. Gong, B.-H. Juang, "Cycle-consistent speech enhancement", Interspeech 2018; J.-Y. Zhu et al.,
"Unpaired image-to-image translation using cycle-consistent adversarial networks", ICCV 2017. There, the networks map
features; here, waveforms. The clean speech of a step is that of other mixtures than the noisy one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture, unpaired
from rased.errors import RasedError
from rased.losses.adversarial import Criterion, LeastSquares
from rased.losses.base import Domain, Loss
from rased.losses.waveform import L1
from rased.models.base import Enhancer
from rased.signal.domains import Waveform
from rased.training.base import Enhancement
from rased.training.discriminators import Discriminator
from rased.training.players import Player
from rased.training.suitable import check_numbers, refuse_as_second, refuse_channels

DISCRIMINATORS, DEGRADER = "discriminators", "degrader"


class CycleConsistent(Enhancement):
    """Trains an enhancer, a degrader, and a discriminator of the output of each, on unpaired recordings."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform",)

    def __init__(
        self,
        enhancer: Enhancer,
        degrader: Enhancer,
        clean_discriminator: Discriminator,
        noisy_discriminator: Discriminator,
        loss: nn.Module | None = None,
        criterion: Criterion | None = None,
        cycle_weight: float = 10.0,
        identity_weight: float = 5.0,
        discriminator_lr: float | None = None,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train: from noisy to clean.
            degrader: any enhancer; it learns to map clean to noisy, and is used only in training.
            clean_discriminator: learns to tell clean speech from estimates; an `UnpairedDiscriminator`.
            noisy_discriminator: learns to tell noisy speech from degraded speech.
            loss: compares a recording with itself after both networks (cycle), and clean speech with itself after the
                enhancer, noisy speech with itself after the degrader (identity); None: L1 of the waveform.
            criterion: one of `rased.losses.adversarial`, with a weight of 1; None: least squares.
            cycle_weight: weight of the cycle.
            identity_weight: weight of the identity.
            discriminator_lr: learning rate of the discriminators; None: that of the enhancer.
            training: the other arguments of `Enhancement`; optimiser and schedule count for all players.

        Raises:
            RasedError: see `Enhancement`; a negative weight, an enhancer with several channels or a condition, or a
                degrader that needs statistics, which it would not get.
        """
        refuse_channels(enhancer, type(self).__name__)
        refuse_as_second(degrader, "degrader", type(self).__name__)
        if enhancer.conditions:
            raise RasedError(
                f"CycleConsistent trains enhancers without conditions, but {type(enhancer).__name__} needs "
                f"{', '.join(enhancer.conditions)}: choose another model."
            )
        super().__init__(enhancer, loss, **training)
        check_numbers(
            "model",
            cycle_weight=(cycle_weight, 0, None),
            identity_weight=(identity_weight, 0, None),
        )
        self.degrader = degrader
        self.discriminators = nn.ModuleDict(
            {"clean": clean_discriminator, "noisy": noisy_discriminator}
        )
        self.criterion = LeastSquares() if criterion is None else criterion
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        lr = self.optimisation.lr if discriminator_lr is None else discriminator_lr
        self._others = replace(self.optimisation, lr_factors={})
        self._discriminating = replace(self._others, lr=lr)

    def default_loss(self) -> Loss:
        """Return the L1 distance of the waveforms."""
        return L1()

    def players(self) -> list[Player]:
        """Return the discriminators, the degrader, then the enhancer."""
        return [
            Player(DISCRIMINATORS, self.discriminators, self._discriminating),
            Player(DEGRADER, self.degrader, self._others),
            *super().players(),
        ]

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute what a player minimises; both networks share the cycle."""
        noisy, clean = batch["noisy"].float(), unpaired(batch["target"].float())
        if player == DISCRIMINATORS:
            # Both networks rest while the discriminators learn.
            with torch.no_grad():
                made = {
                    "clean": self.enhancer(noisy).float(),
                    "noisy": self.degrader(clean).float(),
                }
            return self._told(made, {"clean": clean, "noisy": noisy})
        # In each turn again, because the player before has changed its network.
        estimate, degraded = self.enhancer(noisy).float(), self.degrader(clean).float()
        again = {"noisy": self.degrader(estimate).float(), "clean": self.enhancer(degraded).float()}
        cycle = self._distance(again["noisy"], noisy) + self._distance(again["clean"], clean)
        if player == DEGRADER:
            fooled, same = (
                self._scores("noisy", degraded),
                self._distance(self.degrader(noisy), noisy),
            )
        else:
            fooled, same = (
                self._scores("clean", estimate),
                self._distance(self.enhancer(clean), clean),
            )
        return {
            "adversarial": self.criterion.please(fooled),
            "cycle": self.cycle_weight * cycle,
            "identity": self.identity_weight * same,
        }

    def _told(
        self, made: Mapping[str, Waveform], real: Mapping[str, Waveform]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return what the discriminators minimise, such as `clean/real` and `clean/fake`."""
        terms = {}
        for kind, fake in made.items():
            scores = {"real": self._scores(kind, real[kind]), "fake": self._scores(kind, fake)}
            for name, value in self.criterion.discriminate(**scores).items():
                terms[f"{kind}/{name}"] = value
        return terms

    def _scores(self, kind: str, candidate: Waveform) -> Float[Tensor, " batch"]:
        # Without pairs, a candidate has neither a mixture nor a target: it takes the place of both.
        return self.discriminators[kind](candidate, noisy=candidate, target=candidate).float()

    def _distance(self, estimate: Waveform, target: Waveform) -> Float[Tensor, ""]:
        return self.loss(estimate=estimate.float(), target=target)

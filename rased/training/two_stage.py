"""Train a denoiser, then a dereverberator on its estimates, then both together.

Y. Zhao, Z.-Q. Wang, D. Wang, "A two-stage algorithm for noisy and reverberant speech enhancement", ICASSP 2017.
There, the stages map or mask features, each in its own way. Here, the stages of a cascade are any two enhancers, and
the phases are shares of the budget, so that one run does all of it.
"""

from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.base import Domain, Loss
from rased.losses.waveform import SNR
from rased.models.cascade import Cascade
from rased.training.base import Enhancement
from rased.training.optimisation import budget
from rased.training.suitable import check_numbers

Phase = Literal["denoise", "dereverberate", "jointly"]


class TwoStage(Enhancement):
    """Trains the first stage on reverberant speech, then the second one on the target, then both on the target."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform",)

    def __init__(
        self,
        enhancer: Cascade,
        loss: nn.Module | None = None,
        denoise: float = 0.4,
        dereverberate: float = 0.3,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: two stages.
            loss: see `Enhancement`; None: negative SNR.
            denoise: share of the budget in which the first stage alone learns to remove the noise.
            dereverberate: share after it in which the first stage is frozen and the second one learns; in the rest,
                both learn.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `Enhancement`; not two stages, or shares that are more than the budget.
        """
        if len(enhancer.parts) != 2:
            raise RasedError(
                f"TwoStage trains a Cascade of two stages, not {len(enhancer.parts)}: give a denoiser and a "
                "dereverberator."
            )
        check_numbers(
            "model", denoise=(denoise, 0, 1), dereverberate=(dereverberate, 0, 1 - denoise)
        )
        super().__init__(enhancer, loss, **training)
        self.denoise, self.dereverberate = denoise, dereverberate

    def default_loss(self) -> Loss:
        """Return the negative SNR."""
        return SNR()

    @property
    def phase(self) -> Phase:
        """Return what is trained in the current step."""
        now = budget(self.trainer)
        if now.done < self.denoise * now.total:
            return "denoise"
        if now.done < (self.denoise + self.dereverberate) * now.total:
            return "dereverberate"
        return "jointly"

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss of the estimate of the first stage, or of that of both."""
        phase, noisy = self.phase, batch["noisy"]
        first = phase == "denoise"
        options = self.enhancer.options(
            len(noisy), condition=batch.get("condition"), generator=self.drawn(batch)
        )
        # `fixed`: how many of the first stages run without a gradient.
        predictions = self.stages.predictions(
            noisy, count=1 if first else 2, fixed=int(phase == "dereverberate"), **options
        )
        # early + late: speech with all its reverberation, without noise.
        target = batch["early"] + batch["late"] if first else batch["target"]
        pair = (predictions[-1].estimate.float(), target.float())
        terms = self.loss.terms({"waveform": pair})
        if torch.distributed.is_initialized():  # which waits for a gradient of every parameter
            terms = {name: value + self._nothing() for name, value in terms.items()}
        return terms

    @property
    def stages(self) -> Cascade:
        """Return the enhancer."""
        return cast(Cascade, self.enhancer)

    def on_train_batch_start(self, batch: Mixture, batch_idx: int) -> None:
        """Keep running statistics and dropout of a frozen denoiser as in an evaluation."""
        super().on_train_batch_start(batch, batch_idx)
        self.stages.parts[0].train(self.phase != "dereverberate")
        # `train` has put these into training mode, too.
        for part in self.fixed:
            part.eval()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update only the stages that learn in this phase."""
        resting = {"denoise": 1, "dereverberate": 0}.get(self.phase)
        if resting is not None:
            for item in self.stages.parts[resting].parameters():
                # The optimiser leaves parameters without a gradient alone.
                item.grad = None
        super().on_before_optimizer_step(optimizer)

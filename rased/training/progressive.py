"""Train stages that each remove a part of the noise: the target of a stage is the mixture some decibels cleaner.

T. Gao, J. Du, L.-R. Dai, C.-H. Lee, "SNR-based progressive learning of deep neural network for speech enhancement",
Interspeech 2016; "Densely connected progressive learning for LSTM-based speech enhancement", ICASSP 2018. There, the
stages are layers of one network that maps log-power to log-power. Here, a stage is any enhancer, and gets the waveform
of the stage before.
"""

from typing import Any, ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture, reference
from rased.losses.base import Domain, Loss, total
from rased.losses.waveform import SNR
from rased.models.cascade import Cascade
from rased.signal.domains import Waveform
from rased.training.base import Enhancement
from rased.training.suitable import check_numbers


class Progressive(Enhancement):
    """Trains the stages of a cascade together, one step of SNR each; the last one has the target itself."""

    domains: ClassVar[tuple[Domain, ...]] = ("waveform",)

    def __init__(
        self,
        enhancer: Cascade,
        loss: nn.Module | None = None,
        step_db: float = 10.0,
        stage_weight: float = 0.5,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the stages.
            loss: compares the estimate of each stage with its target; None: negative SNR.
            step_db: by how much a stage raises the SNR.
            stage_weight: weight of the loss of a stage before the last, whose weight is 1.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `Enhancement`, or a number is out of its range.
        """
        super().__init__(enhancer, loss, **training)
        check_numbers("model", step_db=(step_db, 0, 100), stage_weight=(stage_weight, 0, None))
        self.step_db, self.stage_weight = step_db, stage_weight

    def default_loss(self) -> Loss:
        """Return the negative SNR."""
        return SNR()

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss of each stage: `stage_1` and so on, and `clean` for the last one."""
        noisy, condition = batch["noisy"], batch.get("condition")
        drawn = self.drawn(batch)
        options = self.enhancer.options(len(noisy), condition=condition, generator=drawn)
        predictions = cast(Cascade, self.enhancer).predictions(noisy, **options)
        terms = {}
        for index, (made, wanted) in enumerate(
            zip(predictions, self.targets(batch), strict=True), 1
        ):
            last = index == len(predictions)
            pair = (made.estimate.float(), wanted)
            value = total(self.loss.terms({"waveform": pair}))
            name, weight = ("clean", 1.0) if last else (f"stage_{index}", self.stage_weight)
            terms[name] = weight * value
        return terms

    def targets(self, batch: Mixture) -> list[Waveform]:
        """Return the target of each stage: the rest of the mixture is `step_db` quieter with every stage."""
        target = batch["target"].float()
        rest = reference(batch["noisy"]).float() - target
        count = len(cast(Cascade, self.enhancer).parts)
        # dB of an amplitude.
        quieter = [10 ** (-number * self.step_db / 20) for number in range(1, count)]
        return [*(target + gain * rest for gain in quieter), target]

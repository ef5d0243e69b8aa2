"""Train an enhancer on the estimates of another one, its teacher, besides the target.

G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network", arXiv 1503.02531. The teacher enhances
each training mixture on the fly; it is not trained, and not saved with a checkpoint.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.base import Loss, total
from rased.losses.waveform import SNR
from rased.models.base import Enhancer
from rased.signal.domains import Waveform
from rased.training.base import Enhancement
from rased.training.suitable import check_numbers


class Distillation(Enhancement):
    """Trains on a weighted sum of the distances from the target and from the teacher's estimate."""

    def __init__(
        self,
        enhancer: Enhancer,
        teacher: nn.Module,
        loss: nn.Module | None = None,
        teacher_weight: float = 0.5,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the student.
            teacher: any module that is called with noisy waveforms and returns estimates: `rased.zoo.frozen.Frozen`
                for whatever `rased.load` takes.
            loss: see `Enhancement`; it compares the student with the target and with the teacher's estimate. None:
                negative SNR.
            teacher_weight: share of the distance from the teacher, from 0 to 1; the target has the rest.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `Enhancement`, or the teacher works at another sample rate.
        """
        super().__init__(enhancer, loss, **training)
        check_numbers("model", teacher_weight=(teacher_weight, 0, 1))
        _check_rate(enhancer, teacher)
        self.teacher_weight = teacher_weight
        # In a list, where nn.Module does not look for submodules.
        self._held = [teacher.eval().requires_grad_(False)]

    @property
    def teacher(self) -> nn.Module:
        """Return the teacher; a list holds it, since a submodule would be trained and saved."""
        return self._held[0]

    def default_loss(self) -> Loss:
        """Return the negative SNR."""
        return SNR()

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the terms of the loss for the target, and their sum for the teacher's estimate."""
        prediction, share = self.trained_prediction(batch), self.teacher_weight
        taught: Mixture = {**batch, "target": self.taught(batch)}
        terms = {
            name: (1 - share) * value for name, value in self.terms_of(prediction, batch).items()
        }
        return {**terms, "teacher": share * total(self.terms_of(prediction, taught))}

    def taught(self, batch: Mixture) -> Waveform:
        """Return the teacher's estimates, computed in float32."""
        noisy = batch["noisy"].float()
        with torch.no_grad(), torch.autocast(noisy.device.type, enabled=False):
            # Lightning does not know the teacher, so it does not move it; after the first batch this costs nothing.
            return self.teacher.to(noisy.device)(noisy)


def _check_rate(enhancer: Enhancer, teacher: nn.Module) -> None:
    for part in teacher.modules():
        if isinstance(part, Enhancer) and part.sample_rate != enhancer.sample_rate:
            raise RasedError(
                f"the teacher works at {part.sample_rate} Hz, but the enhancer at {enhancer.sample_rate} Hz: choose "
                "a teacher with the rate of the enhancer."
            )

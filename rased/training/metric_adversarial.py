"""Train against a discriminator that predicts PESQ, so that the enhancer can follow a metric without gradient.

S.-W. Fu et al., "MetricGAN", ICML 2019; in the form of R. Cao, S. Abdulatif, B. Yang, "CMGAN", Interspeech 2022, and
of Y.-X. Lu, Y. Ai, Z.-H. Ling, "MP-SENet", Interspeech 2023: PESQ (wide band) is mapped to 0 for 1 and to 1 for 4.5.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.adversarial import MetricRegression
from rased.machine import cores
from rased.models.base import Enhancer
from rased.native import Children, pesq
from rased.signal.domains import Waveform
from rased.training.adversarial import Adversarial
from rased.training.discriminators import Discriminator, MetricDiscriminator
from rased.training.suitable import check_numbers

# MOS-LQO of P.862.2: (PESQ - 1) / 3.5, as in CMGAN.
_WORST, _SPAN = 1.0, 3.5


class MetricAdversarial(Adversarial):
    """Trains an enhancer against a discriminator that learns its PESQ."""

    def __init__(
        self,
        enhancer: Enhancer,
        discriminator: Discriminator | None = None,
        loss: nn.Module | None = None,
        adversarial_weight: float = 0.05,
        discriminator_lr: float | None = None,
        jobs: int | None = None,
        **training: Any,
    ) -> None:
        """Build the training module.

        Args:
            enhancer: the network to train, at 16 kHz.
            discriminator: None: `MetricDiscriminator`.
            loss: see `Enhancement`; None: L1 of the waveform.
            adversarial_weight: weight of the criterion beside the loss.
            discriminator_lr: learning rate of the discriminator; None: that of the enhancer.
            jobs: processes that compute PESQ, for each rank; None: the cores, divided among the ranks of the machine.
            training: the other arguments of `Enhancement`.

        Raises:
            RasedError: see `Adversarial`, or the enhancer works at another sample rate.
        """
        if enhancer.sample_rate != pesq.RATE:
            raise RasedError(
                f"PESQ needs {pesq.RATE} Hz, but the enhancer works at {enhancer.sample_rate} Hz: choose a model at "
                "16 kHz, or rased.training.adversarial.Adversarial, which needs no metric."
            )
        check_numbers("model", jobs=(jobs, 1, None))
        super().__init__(
            enhancer,
            MetricDiscriminator() if discriminator is None else discriminator,
            loss,
            adversarial_weight=adversarial_weight,
            discriminator_lr=discriminator_lr,
            **training,
        )
        self.regression = MetricRegression()
        self.criterion = self.regression
        self.jobs = jobs
        self._children: Children | None = None

    def judged(self, batch: Mixture, estimate: Waveform) -> dict[str, Float[Tensor, ""]]:
        """Return the distance of the discriminator's predictions from PESQ; rows without PESQ are left out."""
        target = batch["target"].float()
        return self.regression.regress(
            real=self.scored(batch, target),
            fake=self.scored(batch, estimate),
            quality=self.quality(estimate=estimate, target=target),
        )

    def quality(self, *, estimate: Waveform, target: Waveform) -> Float[Tensor, " batch"]:
        """Return the mapped PESQ of each row; NaN where PESQ has no value (such as no speech, or too short)."""
        if self._children is None:
            self._children = Children(self.processes)
        clean, made = (part.detach().cpu().numpy() for part in (target, estimate))
        rows = [(clean[row], made[row], "wb") for row in range(len(clean))]
        values = self._children.each(pesq.measure, rows)
        found = [value if isinstance(value, float) else float("nan") for value in values]
        return (torch.tensor(found, device=target.device) - _WORST) / _SPAN

    @property
    def processes(self) -> int:
        """Return the largest number of processes that compute PESQ for this rank."""
        # Private, because `trainer` raises without one. num_devices: ranks on this machine.
        ranks = 1 if self._trainer is None else self._trainer.num_devices
        return self.jobs or max(1, cores() // ranks)

    def teardown(self, stage: str) -> None:
        """End the processes."""
        if self._children is not None:
            self._children.end()
            self._children = None

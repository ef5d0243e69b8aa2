"""The contract of a loss: keyword-only estimate and target in, a scalar to be minimised out."""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError

Domain = Literal["waveform", "spectrum", "output"]


class Loss(nn.Module):
    """Base of every loss: smallest at `estimate == target`, finite in value and gradient.

    Attributes:
        domain: what it compares. "waveform": (batch, time). "spectrum": complex
            (batch, freq, frames). "output": what the network itself puts out (a mask, a
            log-power), real or complex.
        optimises: names of the metrics that it is, up to its sign: their scores are no surprise then.
    """

    domain: Domain = "waveform"
    optimises: tuple[str, ...] = ()

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """The loss, averaged over the batch."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(estimate=, target=)")


class WeightedSum(Loss):
    """Several losses of one domain, each times its weight.

    Args:
        losses: the terms.
        weights: as many numbers; None: 1 each.

    Raises:
        RasedError: no term, another number of weights, or terms of several domains.
    """

    def __init__(self, losses: Sequence[Loss], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = [1.0] * len(losses) if weights is None else list(weights)
        domains = sorted({loss.domain for loss in losses})
        if not losses or len(losses) != len(weights):
            raise RasedError(
                f"WeightedSum got {len(losses)} losses and {len(weights)} weights: give one weight "
                "for each of at least one loss."
            )
        if len(domains) > 1:
            raise RasedError(
                f"WeightedSum got losses of the domains {' and '.join(domains)}: choose losses of "
                "one domain (rased.losses.spectral.OnSTFT lets a spectral loss compare waveforms)."
            )
        self.domain = losses[0].domain
        self.losses = nn.ModuleList(losses)
        self.weights = weights

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Sum of weight times loss."""
        terms = [
            weight * loss(estimate=estimate, target=target)
            for weight, loss in zip(self.weights, self.losses, strict=True)
        ]
        return sum(terms[1:], terms[0])

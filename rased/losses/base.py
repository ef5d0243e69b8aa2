"""The contract of a loss: keyword-only estimate and target in, a scalar to be minimised out."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from rased.construction import Remembered
from rased.errors import RasedError, cut
from rased.signal.domains import Domain


class Loss(Remembered, nn.Module):
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


class OnWaveforms(Loss):
    """Any module that compares two waveforms, such as `torch.nn.L1Loss`: called with (estimate, target).

    Args:
        module: gives one number for two tensors (batch, time).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """What the module gives.

        Raises:
            RasedError: it cannot be called so, or gives something else than one number.
        """
        name = type(self.module).__name__
        try:
            value = self.module(estimate, target)
        except (TypeError, RuntimeError, ValueError, IndexError) as error:
            raise RasedError(
                f"the loss {name} cannot compare two waveforms (it is called with estimate and target, both of shape "
                f"{tuple(target.shape)}): {cut(str(error))}. Derive from rased.losses.base.Loss for other inputs."
            ) from error
        if not isinstance(value, Tensor) or value.ndim:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise RasedError(
                f"the loss {name} gives {shape} and must give one number: reduce it, by reduction='mean', say."
            )
        return value


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

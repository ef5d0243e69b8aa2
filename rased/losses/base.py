"""The contract of a loss: keyword-only estimate and target in, a scalar to be minimised out."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from rased.construction import Remembered
from rased.errors import RasedError, cut
from rased.names import plain
from rased.signal.domains import Domain

Pairs = Mapping[Domain, tuple[Tensor, Tensor]]
"""Estimate and target in each domain that a loss compares."""


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

    @property
    def domains(self) -> tuple[Domain, ...]:
        """All domains that it compares: one, but for a sum of losses."""
        return (self.domain,)

    @property
    def label(self) -> str:
        """What the log calls it."""
        return _snake(type(self).__name__)

    def terms(self, pairs: Pairs) -> dict[str, Float[Tensor, ""]]:
        """What it is made of, by name; the terms add up to the loss.

        Args:
            pairs: estimate and target, at least in `domains`.
        """
        estimate, target = pairs[self.domain]
        return {self.label: self(estimate=estimate, target=target)}

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

    @property
    def label(self) -> str:
        """The name of the module's class."""
        return _snake(type(self.module).__name__)

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
    """Several losses, each times its weight; they may compare different domains.

    The log shows every term, times its weight, under its name. The terms of a sum within a sum stand beside the
    others, as NAME/TERM where that sum was given a name.

    Args:
        losses: the terms.
        weights: as many numbers; None: 1 each.
        names: as many words; None: after the classes of the losses.

    Raises:
        RasedError: no term, another number of weights or names, a weight that is not a number, or a name twice.
    """

    def __init__(
        self,
        losses: Sequence[Loss],
        weights: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        weights = [1.0] * len(losses) if weights is None else list(weights)
        if not losses or len(losses) != len(weights):
            raise RasedError(
                f"WeightedSum got {len(losses)} losses and {len(weights)} weights: give one weight "
                "for each of at least one loss."
            )
        for weight in weights:
            if not math.isfinite(weight):
                raise RasedError(f"WeightedSum got the weight {weight}; give a number.")
        if names is not None:
            _check_names(names, len(losses))
        self.losses = nn.ModuleList(losses)
        self.weights = weights
        self.names = None if names is None else list(names)
        self.domain = self.domains[0]

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Those of the terms, each once."""
        found = (domain for loss in self._losses() for domain in loss.domains)
        return tuple(dict.fromkeys(found))

    def terms(self, pairs: Pairs) -> dict[str, Float[Tensor, ""]]:
        """Every term times its weight."""
        found: dict[str, Float[Tensor, ""]] = {}
        for name, weight, loss in zip(self._words(), self.weights, self._losses(), strict=True):
            for inner, value in loss.terms(pairs).items():
                word = (
                    f"{name}/{inner}" if name and isinstance(loss, WeightedSum) else name or inner
                )
                found[_free(word, found)] = weight * value
        return found

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Sum of weight times loss.

        Raises:
            RasedError: the terms compare several domains, which one estimate cannot serve.
        """
        if len(self.domains) > 1:
            raise RasedError(
                f"this WeightedSum compares {' and '.join(self.domains)}: call terms({{domain: (estimate, target)}})."
            )
        return total(self.terms({self.domain: (estimate, target)}))

    def _losses(self) -> Iterable[Loss]:
        yield from self.losses

    def _words(self) -> list[str]:
        return self.names or [""] * len(self.weights)


def total(terms: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
    """Add up the terms of a loss, first to last."""
    first, *others = terms.values()
    return sum(others, first)


def _check_names(names: Sequence[str], count: int) -> None:
    if len(names) != count or len({*names}) != count:
        raise RasedError(
            f"WeightedSum got {count} losses and the names {', '.join(names) or 'none'}: give each loss a name of "
            "its own."
        )
    for name in names:
        plain(name, what="a name of WeightedSum")


def _free(name: str, taken: Mapping[str, Tensor]) -> str:
    """The name, or NAME_2, NAME_3 and so on."""
    stem = re.sub(r"_\d+$", "", name)
    words = [name, *(f"{stem}_{count}" for count in range(2, len(taken) + 3))]
    return next(word for word in words if word not in taken)


def _snake(name: str) -> str:
    """MultiResolutionSTFT -> multi_resolution_stft."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

"""Base class of losses: keyword-only estimate and target in, a scalar to minimise out."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.construction import Remembered
from rased.errors import RasedError, cut
from rased.names import plain
from rased.signal.domains import Domain

Pairs = Mapping[Domain, tuple[Tensor, Tensor]]
"""Estimate and target for each domain."""


class Loss(Remembered, nn.Module):
    """Base class of losses: minimal at `estimate == target`, with finite value and gradient.

    Attributes:
        domain: what is compared. "waveform": (batch, time). "spectrum": complex
            (batch, freq, frames). "output": the output of the network itself (a mask, a
            log-power), real or complex.
        optimises: names of metrics that this loss equals up to the sign, or stands in for; their scores are favourable
            by design.
        degree: multiplying both signals by g multiplies the loss by g ** degree, as long as neither is near
            silence; 0: the level does not count. None: there is no such rule.
        level_free: multiplying the estimate alone by a positive number does not change the loss.
        sample_rate: of the waveforms, in Hz; None: any.
    """

    domain: Domain = "waveform"
    optimises: tuple[str, ...] = ()
    degree: float | None = None
    level_free: bool = False
    sample_rate: int | None = None

    def __call__(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Return the loss, computed in single precision at least, also within `torch.autocast`."""
        with torch.autocast(target.device.type, enabled=False):
            # `_single` alone does not suffice: autocast would cast inside the loss again.
            value: Tensor = super().__call__(estimate=_single(estimate), target=_single(target))
            return value

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Return all domains that are compared; more than one only for a sum of losses."""
        return (self.domain,)

    @property
    def label(self) -> str:
        """Return the name in the log."""
        return _snake(type(self).__name__)

    def terms(self, pairs: Pairs) -> dict[str, Float[Tensor, ""]]:
        """Return the terms of the loss by name; their sum is the loss.

        Args:
            pairs: estimate and target, at least for `domains`.
        """
        estimate, target = pairs[self.domain]
        return {self.label: self(estimate=estimate, target=target)}

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Return the loss, averaged over the batch."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(estimate=, target=)")


class OnWaveforms(Loss):
    """Wraps a module that compares two waveforms, such as `torch.nn.L1Loss`; called with (estimate, target).

    Args:
        module: returns a scalar for two tensors (batch, time).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def label(self) -> str:
        """Return the name of the module's class."""
        return _snake(type(self.module).__name__)

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Return the result of the module.

        Raises:
            RasedError: the module cannot be called like this, or does not return a scalar.
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
                f"the loss {name} returns {shape}, but must return one number: use reduction='mean' or similar."
            )
        return value


class WeightedSum(Loss):
    """A weighted sum of losses, which may compare different domains.

    The log shows every term, multiplied by its weight, under its name. Terms of a nested sum are listed individually,
    as NAME/TERM if the nested sum has a name.

    Args:
        losses: the losses.
        weights: one number per loss; None: 1 each.
        names: one name per loss; None: derived from the class names.

    Raises:
        RasedError: no loss, a wrong number of weights or names, a weight that is not a number, or a duplicate name.
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
                f"WeightedSum got {len(losses)} losses and {len(weights)} weights: give at least one loss, and "
                "one weight for each."
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
        degrees = {loss.degree for loss in losses}
        # Only a common degree holds for the sum.
        self.degree = degrees.pop() if len(degrees) == 1 else None
        self.level_free = all(loss.level_free for loss in losses)

    @property
    def domains(self) -> tuple[Domain, ...]:
        """Return the domains of the terms, without repetition."""
        found = (domain for loss in self._losses() for domain in loss.domains)
        return tuple(dict.fromkeys(found))

    def terms(self, pairs: Pairs) -> dict[str, Float[Tensor, ""]]:
        """Return every term, multiplied by its weight."""
        found: dict[str, Float[Tensor, ""]] = {}
        for name, weight, loss in zip(self._words(), self.weights, self._losses(), strict=True):
            for inner, value in loss.terms(pairs).items():
                # Nested sums show their own names as a path.
                word = (
                    f"{name}/{inner}" if name and isinstance(loss, WeightedSum) else name or inner
                )
                found[_free(word, found)] = weight * value
        return found

    def forward(self, *, estimate: Tensor, target: Tensor) -> Float[Tensor, ""]:
        """Return the weighted sum.

        Raises:
            RasedError: the terms compare different domains, so a single estimate is not enough.
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
    """Add the terms of a loss."""
    first, *others = terms.values()
    return sum(others, first)


def _single(signal: Tensor) -> Tensor:
    """Convert a signal of half precision to single precision."""
    return signal.float() if signal.dtype in (torch.bfloat16, torch.float16) else signal


def _check_names(names: Sequence[str], count: int) -> None:
    if len(names) != count or len({*names}) != count:
        raise RasedError(
            f"WeightedSum got {count} losses and the names {', '.join(names) or 'none'}: give each loss a different "
            "name."
        )
    for name in names:
        plain(name, what="a name of WeightedSum")


def _free(name: str, taken: Mapping[str, Tensor]) -> str:
    """Return the name, or the first free one of NAME_2, NAME_3 and so on."""
    stem = re.sub(r"_\d+$", "", name)
    # One candidate more than names are taken.
    words = [name, *(f"{stem}_{count}" for count in range(2, len(taken) + 3))]
    return next(word for word in words if word not in taken)


def _snake(name: str) -> str:
    """Convert MultiResolutionSTFT to multi_resolution_stft."""
    # Before a capital letter after a small one, and before the last of several capitals (STFTLoss).
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

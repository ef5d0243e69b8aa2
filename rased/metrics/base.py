"""The contract of every metric: one estimate in, one value or one status out."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rased.errors import RasedError

OK = "ok"
SILENCE = 1e-8
"""Largest amplitude (-160 dBFS) that metrics take for silence."""


class Undefined(Exception):
    """Raised inside a metric where the metric has no value; the text says why."""


@dataclass(frozen=True)
class Score:
    """What a metric says of one utterance.

    Attributes:
        value: in the metric's unit; None where there is none.
        status: "ok", "undefined: why" (silence, too short) or "unavailable: why" (a package is
            missing).
    """

    value: float | None
    status: str = OK

    def __post_init__(self) -> None:
        assert (self.value is not None) == (self.status == OK), (
            "a value comes with ok, and only with ok"
        )


class Metric:
    """Base of every metric. Subclasses define the class attributes and `measure`.

    Attributes:
        name: how configurations, results and tables call it.
        title: how a reader knows it.
        unit: "dB", "MOS", or "" for a plain number.
        direction: whether higher or lower is better.
        range: smallest and largest value there is.
        sample_rate: Hz that it is defined at; None for any.
        needs_reference: whether `target` must be given.
        packages: what must be installed, as pip knows it.
        minimum: seconds below which it is undefined.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = ""
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    range: ClassVar[tuple[float, float]]
    sample_rate: ClassVar[int | None] = None
    needs_reference: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    minimum: ClassVar[float] = 0.0

    @property
    def version(self) -> str:
        """What must agree for two values to be comparable: packages and our own choices."""
        return ", ".join(f"{package} {_installed(package)}" for package in self.packages)

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """The value for checked input.

        Raises:
            Undefined: there is no value for this input.
        """
        raise NotImplementedError(f"{type(self).__name__} must define measure(estimate, target)")

    def __call__(
        self,
        *,
        estimate: Float[Tensor, " time"],
        target: Float[Tensor, " target_time"] | None = None,
        sample_rate: int,
    ) -> Score:
        """Score one utterance; never resamples.

        Silence (of either signal), NaN and too short input give the status "undefined: ...", a
        missing package gives "unavailable: ...".

        Raises:
            RasedError: another rate than the metric's, no target where one is needed, or unequal
                lengths.
        """
        self._check(estimate, target, sample_rate)
        missing = [package for package in self.packages if _installed(package) == "missing"]
        if missing:
            return Score(None, f"unavailable: pip install {' '.join(missing)}")
        reference = target if self.needs_reference else None
        try:
            self._look(estimate, reference, sample_rate)
            value = self.measure(estimate.float(), None if reference is None else reference.float())
        except Undefined as reason:
            return Score(None, f"undefined: {reason}")
        if value != value or value in (float("inf"), float("-inf")):
            return Score(None, "undefined: the result is not a finite number")
        return Score(float(value))

    def _check(self, estimate: Tensor, target: Tensor | None, sample_rate: int) -> None:
        if self.sample_rate not in (None, sample_rate):
            raise RasedError(
                f"{self.name} is defined at {self.sample_rate} Hz and was given {sample_rate} Hz: "
                "resample both signals first, and say with what."
            )
        if not self.needs_reference:
            return
        if target is None:
            raise RasedError(f"{self.name} compares with a reference: pass target=...")
        if estimate.shape != target.shape:
            raise RasedError(
                f"{self.name} needs signals of equal length and was given an estimate of "
                f"{estimate.shape[-1]} and a target of {target.shape[-1]} samples: trim them first."
            )

    def _look(self, estimate: Tensor, target: Tensor | None, sample_rate: int) -> None:
        for role, signal in (("target", target), ("estimate", estimate)):
            if signal is None:
                continue
            if signal.shape[-1] < max(1, self.minimum * sample_rate):
                raise Undefined(f"shorter than {self.minimum:g} s" if self.minimum else "empty")
            if not bool(torch.isfinite(signal).all()):
                raise Undefined(f"the {role} holds NaN or infinity")
            if float(signal.abs().max()) <= SILENCE:
                raise Undefined(f"the {role} is silent")


def _installed(package: str) -> str:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "missing"

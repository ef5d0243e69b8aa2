"""Base class of metrics: one estimate in, one value or status out."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rased.errors import RasedError
from rased.extras import install_command
from rased.native import DiedError
from rased.signal.domains import Samples

OK = "ok"
SILENCE = 1e-8
"""Largest amplitude (-160 dBFS) that counts as silence."""

_REMEMBERED = 64
_MEMORIES: list[OrderedDict[tuple[Any, ...], Any]] = []

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Undefined(Exception):
    """Raised by a metric that has no value for its input; the message says why."""


@dataclass(frozen=True)
class Score:
    """Result of a metric for one utterance.

    Attributes:
        value: in the unit of the metric; None if it has no value.
        status: "ok", "undefined: reason" (silence, too short) or "unavailable: reason" (a package or
            weights are missing, with what to install).
    """

    value: float | None
    status: str = OK

    def __post_init__(self) -> None:
        assert (self.value is not None) == (self.status == OK), (
            "the status is ok if and only if there is a value"
        )


class Metric:
    """Base class of metrics. Subclasses define the class attributes and `measure`.

    Another package adds a metric with an entry point of the group `rased.metrics` that names its
    class. `rased evaluate --metrics my_metric.py:MyMetric` loads one from a file. Compiled code that may
    crash should run in `rased.native.call`, so that a crash costs at most the value of one utterance.

    Attributes:
        name: name in configurations, results and tables.
        title: name for readers.
        unit: "dB", "MOS", or "" for a plain number.
        direction: whether higher or lower is better.
        range: smallest and largest possible value; may be infinite.
        sample_rate: required sample rate in Hz; None for any.
        needs_reference: `target` is required.
        needs_text: `text`, the transcript, is required; then `compare` is called instead of `measure`.
        family: metrics that measure nearly the same, or contain each other, share a family; each family has one vote
            in an overall ranking. "": a family by itself.
        task: "" for a measure of the signal, else the task that uses it: "recognition", "identity".
        blind_to: changes of the estimate that do not change the value: "level", "offset".
        packages: required packages, by their names for pip.
        pip: the command that installs them.
        minimum: shortest input in seconds; below it the value is undefined.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = ""
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    range: ClassVar[tuple[float, float]]
    sample_rate: ClassVar[int | None] = None
    needs_reference: ClassVar[bool] = True
    family: ClassVar[str] = ""
    task: ClassVar[str] = ""
    needs_text: ClassVar[bool] = False
    blind_to: ClassVar[tuple[Literal["level", "offset"], ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    pip: ClassVar[str] = "pip install"
    minimum: ClassVar[float] = 0.0

    @property
    def category(self) -> str:
        """Return the group of the metric in an overall ranking: intrusive, non-intrusive, or its task."""
        return self.task or ("intrusive" if self.needs_reference else "non-intrusive")

    @property
    def version(self) -> str:
        """Return everything that must be equal for two values to be comparable: package versions and our settings."""
        return ", ".join(f"{package} {_installed(package)}" for package in self.packages)

    @property
    def reference(self) -> Literal["target", "transcript", "none"]:
        """Return what the estimate is compared with."""
        if self.needs_text:
            return "transcript"
        return "target" if self.needs_reference else "none"

    def unavailable(self) -> str:
        """Return what to install before the metric can be measured here; "" if nothing is missing."""
        missing = [package for package in self.packages if _installed(package) == "missing"]
        if not missing:
            return ""
        return install_command(*missing, prefer="eval") or f"{self.pip} {' '.join(missing)}"

    def declaration(self) -> dict[str, Any]:
        """Return the properties of the metric as plain data for a result; None stands for an infinite bound."""
        return {
            "version": self.version,
            "unit": self.unit,
            "direction": self.direction,
            "range": [end if math.isfinite(end) else None for end in self.range],
            "sample_rate": self.sample_rate,
            "reference": self.reference,
            "blind_to": list(self.blind_to),
        }

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Compute the value; the input has been checked.

        Raises:
            Undefined: the metric has no value for this input.
        """
        raise NotImplementedError(f"{type(self).__name__} must define measure(estimate, target)")

    def compare(self, estimate: Samples, text: str) -> float:
        """Compute the value of a metric that needs the transcript; the input has been checked.

        Raises:
            Undefined: the metric has no value for this input.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compare(estimate, text)")

    def __call__(
        self,
        *,
        estimate: Samples,
        target: Float[Tensor, " target_time"] | None = None,
        text: str | None = None,
        sample_rate: int,
    ) -> Score:
        """Score one utterance; never resamples.

        Silence (of either signal), NaN and too short input give the status "undefined: ...", a
        missing package or missing weights give "unavailable: ...".

        Raises:
            RasedError: wrong sample rate, missing target or text, or unequal lengths.
        """
        self._check(estimate, target, text, sample_rate)
        if todo := self.unavailable():
            return Score(None, f"unavailable: {todo}")
        # A target that is given, but not needed, must not make the score undefined.
        reference = target if self.needs_reference else None
        try:
            self._look(estimate, reference, sample_rate)
            if self.needs_text:
                value = self.compare(estimate.float(), text or "")
            else:
                wanted = None if reference is None else reference.float()
                value = self.measure(estimate.float(), wanted)
        except Undefined as reason:
            return Score(None, f"undefined: {reason}")
        except DiedError as ending:
            return Score(None, f"undefined: its compiled code crashed ({ending})")
        if not math.isfinite(value):
            return Score(None, "undefined: the result is not a finite number")
        return Score(float(value))

    def _check(
        self, estimate: Tensor, target: Tensor | None, text: str | None, sample_rate: int
    ) -> None:
        if self.sample_rate not in (None, sample_rate):
            raise RasedError(
                f"{self.name} is defined at {self.sample_rate} Hz, but was given {sample_rate} Hz: "
                "resample both signals first, and report the method."
            )
        if self.needs_text and text is None:
            raise RasedError(f"{self.name} compares with a transcript: pass text=...")
        if not self.needs_reference:
            return
        if target is None:
            raise RasedError(f"{self.name} compares with a reference: pass target=...")
        if estimate.shape != target.shape:
            raise RasedError(
                f"{self.name} needs signals of equal length, but was given an estimate of "
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


def remember(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Cache the last results of a function, so that several metrics share one computation.

    For functions of arrays (compared by content) and hashable values, with small results.
    """
    kept: OrderedDict[tuple[Any, ...], Result] = OrderedDict()
    _MEMORIES.append(kept)

    @wraps(function)
    def remembering(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        # By content: callers pass new arrays of the same samples.
        key = tuple(map(_content, (*args, *kwargs.items())))
        if key not in kept:
            kept[key] = function(*args, **kwargs)
            # The metrics of an utterance are computed one after the other, so a few results suffice.
            if len(kept) > _REMEMBERED:
                kept.popitem(last=False)
        return kept[key]

    return remembering


def forget() -> None:
    """Clear all caches of `remember`."""
    for kept in _MEMORIES:
        kept.clear()


def package_file(package: str, *parts: str) -> Path:
    """Return the path of a file inside an installed package, without importing the package."""
    found = find_spec(package)
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]).joinpath(*parts)


def _content(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
    return value


def _installed(package: str) -> str:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "missing"

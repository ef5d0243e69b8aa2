"""Learning rate schedules. A schedule gives the share of the learning rate to use in the next step.

A share is a function of the progress (see `rased.training.optimisation.Budget`), so a resumed run continues
exactly. `Plateau` also depends on earlier validation scores; checkpoints store that state. Every schedule is
multiplied by the warm-up of its player.
"""

import math
from collections.abc import Mapping
from typing import Literal

from rased.construction import Remembered
from rased.errors import RasedError, nearest
from rased.training.optimisation import Budget
from rased.training.suitable import check_numbers

_MOST_WARMUP = 0.1
"""Maximum share of the budget for the warm-up, so that short runs reach their full learning rate."""

Unit = Literal["epoch", "step"]


class Schedule(Remembered):
    """Base class of schedules.

    Attributes:
        monitor: validation metric that `observe` reads; None: it reads none.
    """

    monitor: str | None = None

    def share(self, now: Budget) -> float:
        """Return the share of the learning rate in the next step, without warm-up."""
        raise NotImplementedError(f"{type(self).__name__} must define share(now)")

    def observe(self, scores: Mapping[str, float]) -> None:
        """Receive the scores of a validation, by name."""

    def state_dict(self) -> dict[str, float]:
        """Return the state as numbers for the checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the state from `state_dict`."""


class Cosine(Schedule):
    """Follows half a cosine from 1 to `final` over the whole budget.

    I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, without restarts.

    Args:
        final: share at the end of the budget.

    >>> [round(Cosine(final=0.1).share(Budget(done, 1000)), 3) for done in (0, 500, 1000)]
    [1.0, 0.55, 0.1]
    """

    def __init__(self, final: float = 0.02) -> None:
        check_numbers("Cosine", final=(final, 0, 1))
        self.final = final

    def share(self, now: Budget) -> float:
        """Return a share between `final` and 1."""
        # Beyond the budget, the cosine would rise again.
        share = min(1.0, now.done / max(1, now.total))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * share))


class Constant(Schedule):
    """Keeps the learning rate constant."""

    def share(self, now: Budget) -> float:
        """Return 1."""
        return 1.0


class Step(Schedule):
    """Multiplies the learning rate by `factor` after every `every` epochs or steps, like torch's StepLR.

    Args:
        every: epochs or steps between two changes.
        factor: multiplier of each change.
        unit: unit of `every`.

    >>> [Step(every=10, factor=0.5).share(Budget(0, 1, epoch=epoch)) for epoch in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, every: int, factor: float = 0.5, unit: Unit = "epoch") -> None:
        name = type(self).__name__
        check_numbers(name, every=(every, 1, None), factor=(factor, 0, 1))
        self.every, self.factor, self.unit = every, factor, unit

    def share(self, now: Budget) -> float:
        """Return a power of `factor`."""
        done = now.epoch if self.unit == "epoch" else now.step
        return float(self.factor ** (done // self.every))


class Exponential(Step):
    """Multiplies the learning rate by `factor` after each epoch or step, like torch's ExponentialLR.

    Args:
        factor: multiplier per epoch or step.
        unit: "epoch" or "step".

    >>> round(Exponential(factor=0.98).share(Budget(0, 1, epoch=100)), 4)
    0.1326
    """

    def __init__(self, factor: float, unit: Unit = "epoch") -> None:
        super().__init__(every=1, factor=factor, unit=unit)


class Plateau(Schedule):
    """Multiplies the learning rate by `factor` when a validation metric stops improving.

    Like torch's ReduceLROnPlateau with threshold_mode="abs"; a score that is not finite counts as no improvement.

    Args:
        factor: multiplier of each change.
        patience: validations without improvement before a change.
        monitor: validation metric.
        mode: "min" if smaller values are better, "max" if larger.
        threshold: smallest improvement that counts, in the unit of the metric.
        least: lower bound of the share.
    """

    def __init__(
        self,
        factor: float = 0.5,
        patience: int = 3,
        monitor: str = "valid/loss",
        mode: Literal["min", "max"] = "min",
        threshold: float = 0.0,
        least: float = 0.0,
    ) -> None:
        check_numbers(
            "Plateau",
            factor=(factor, 0, 1),
            patience=(patience, 0, None),
            threshold=(threshold, 0, None),
            least=(least, 0, 1),
        )
        self.factor, self.patience, self.least = factor, patience, least
        self.monitor, self.mode, self.threshold = monitor, mode, threshold
        self.best = math.inf if mode == "min" else -math.inf
        self.waited, self.now = 0, 1.0

    def share(self, now: Budget) -> float:
        """Return the product of the changes so far."""
        return self.now

    def observe(self, scores: Mapping[str, float]) -> None:
        """Count validations without improvement, and lower the share when there were enough.

        Raises:
            RasedError: the validation has no such metric.
        """
        monitor = str(self.monitor)
        if monitor not in scores:
            raise RasedError(
                f"Plateau monitors {monitor}, but the validation has no such metric; {nearest(monitor, scores)}"
            )
        score = scores[monitor]
        # Infinite for the first score.
        gain = self.best - score if self.mode == "min" else score - self.best
        if math.isfinite(score) and gain > self.threshold:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.now, self.waited = max(self.least, self.now * self.factor), 0

    def state_dict(self) -> dict[str, float]:
        """Return best score, number of validations without improvement, and share."""
        return {"best": self.best, "waited": self.waited, "now": self.now}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the state."""
        self.best, self.now = float(state["best"]), float(state["now"])
        self.waited = int(state["waited"])


def warm_up(now: Budget, steps: int) -> float:
    """Return the share of the learning rate in a linear rise over `steps`, but at most a tenth of the budget.

    >>> [warm_up(Budget(done, 1000), 10) for done in (0, 4, 9, 500)]
    [0.1, 0.5, 1.0, 1.0]
    >>> warm_up(Budget(2, 20), 100)
    1.0
    """
    warmup = max(1, min(steps, int(_MOST_WARMUP * now.total)))
    # + 1: the first step has a rate above 0, too.
    return min(1.0, (now.done + 1) / warmup)

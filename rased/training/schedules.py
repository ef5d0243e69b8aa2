"""Schedules: which share of its learning rate a player takes in the next step.

A share is a function of where the training stands (see `rased.training.optimisation.Budget`), so that a resumed run
goes on exactly. `Plateau` also remembers the scores of the validations; checkpoints hold what it remembers. Every
schedule is multiplied by the warm-up of the player.
"""

import math
from collections.abc import Mapping
from typing import Literal

from rased.construction import Remembered
from rased.errors import RasedError, nearest
from rased.training.optimisation import Budget
from rased.training.suitable import check_numbers

_MOST_WARMUP = 0.1
"""Share of the budget that the warm-up may take, so that short runs reach their learning rate."""

Unit = Literal["epoch", "step"]


class Schedule(Remembered):
    """Base of every schedule.

    Attributes:
        monitor: metric of validation that `observe` reads; None: it reads none.
    """

    monitor: str | None = None

    def share(self, now: Budget) -> float:
        """Share of the learning rate in the next step, warm-up aside."""
        raise NotImplementedError(f"{type(self).__name__} must define share(now)")

    def observe(self, scores: Mapping[str, float]) -> None:
        """Look at the scores of a validation, by name."""

    def state_dict(self) -> dict[str, float]:
        """What it remembers, as numbers for the checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what `state_dict` gave."""


class Cosine(Schedule):
    """Half a cosine from 1 to `final` over the whole budget.

    I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, without restarts.

    Args:
        final: share that is left at the end of the budget.

    >>> [round(Cosine(final=0.1).share(Budget(done, 1000)), 3) for done in (0, 500, 1000)]
    [1.0, 0.55, 0.1]
    """

    def __init__(self, final: float = 0.02) -> None:
        check_numbers("Cosine", final=(final, 0, 1))
        self.final = final

    def share(self, now: Budget) -> float:
        """Between `final` and 1."""
        share = min(1.0, now.done / max(1, now.total))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * share))


class Constant(Schedule):
    """The same learning rate to the end."""

    def share(self, now: Budget) -> float:
        """1."""
        return 1.0


class Step(Schedule):
    """Multiplies the learning rate by `factor` after every `every` epochs or steps, as StepLR of torch.

    Args:
        every: epochs or steps between two changes.
        factor: what each change multiplies by.
        unit: what `every` counts.

    >>> [Step(every=10, factor=0.5).share(Budget(0, 1, epoch=epoch)) for epoch in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, every: int, factor: float = 0.5, unit: Unit = "epoch") -> None:
        name = type(self).__name__
        check_numbers(name, every=(every, 1, None), factor=(factor, 0, 1))
        self.every, self.factor, self.unit = every, factor, unit

    def share(self, now: Budget) -> float:
        """A power of `factor`."""
        done = now.epoch if self.unit == "epoch" else now.step
        return float(self.factor ** (done // self.every))


class Exponential(Step):
    """Multiplies the learning rate by `factor` after each epoch or step, as ExponentialLR of torch.

    Args:
        factor: what each epoch or step multiplies by.
        unit: what is counted.

    >>> round(Exponential(factor=0.98).share(Budget(0, 1, epoch=100)), 4)
    0.1326
    """

    def __init__(self, factor: float, unit: Unit = "epoch") -> None:
        super().__init__(every=1, factor=factor, unit=unit)


class Plateau(Schedule):
    """Multiplies the learning rate by `factor` when a metric of validation has stopped getting better.

    As ReduceLROnPlateau of torch with threshold_mode="abs"; a score that is not finite counts as no better.

    Args:
        factor: what each change multiplies by.
        patience: validations in a row without a better score that are waited for.
        monitor: metric of validation.
        mode: whether less or more of it is better.
        threshold: how much better counts as better, in the unit of the metric.
        least: share below which the learning rate does not go.
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
        """What the changes so far have left."""
        return self.now

    def observe(self, scores: Mapping[str, float]) -> None:
        """Wait, or lower the share.

        Raises:
            RasedError: no validation gives the metric.
        """
        monitor = str(self.monitor)
        if monitor not in scores:
            raise RasedError(
                f"Plateau monitors {monitor}, which no validation gives; {nearest(monitor, scores)}"
            )
        score = scores[monitor]
        gain = self.best - score if self.mode == "min" else score - self.best
        if math.isfinite(score) and gain > self.threshold:
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.now, self.waited = max(self.least, self.now * self.factor), 0

    def state_dict(self) -> dict[str, float]:
        """Best score, validations waited, share."""
        return {"best": self.best, "waited": self.waited, "now": self.now}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on waiting."""
        self.best, self.now = float(state["best"]), float(state["now"])
        self.waited = int(state["waited"])


def warm_up(now: Budget, steps: int) -> float:
    """Share of the learning rate in the next step of a linear rise over `steps`, and a tenth of the budget at most.

    >>> [warm_up(Budget(done, 1000), 10) for done in (0, 4, 9, 500)]
    [0.1, 0.5, 1.0, 1.0]
    >>> warm_up(Budget(2, 20), 100)
    1.0
    """
    warmup = max(1, min(steps, int(_MOST_WARMUP * now.total)))
    return min(1.0, (now.done + 1) / warmup)

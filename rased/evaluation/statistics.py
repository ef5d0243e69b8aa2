"""How sure a mean is: bootstrap intervals that respect who speaks, alone and against a baseline.

Utterances of one voice are not independent. With five speakers or more, whole speakers are drawn,
so that an interval speaks of voices like these. With fewer, that is hopeless: utterances are drawn
within each speaker, and the interval speaks of these voices alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DRAWS = 2000
ENOUGH_SPEAKERS = 5


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies.

    Attributes:
        mean: of the values.
        low: lower end of the interval.
        high: upper end.
        count: number of values.
        method: what was drawn: "speakers" or "utterances".
    """

    mean: float
    low: float
    high: float
    count: int
    method: str

    @property
    def half(self) -> float:
        """Half of the width."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


def bootstrap(
    values: Sequence[float],
    speakers: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean, blocked by speaker; equal input gives equal digits.

    Args:
        values: one an utterance, at least one.
        speakers: who speaks in each; None where nobody knows: all utterances are drawn alike.
        confidence: share of the draws inside the interval.
        seed: of the draws.
    """
    assert len(values) > 0, "there is no mean of nothing"
    data = np.asarray(values, dtype=np.float64)
    names = list(speakers) if speakers is not None else [None] * len(data)
    order: dict[Hashable, int] = {}
    group = np.array([order.setdefault(name, len(order)) for name in names])
    whole = len(order) >= ENOUGH_SPEAKERS
    random = np.random.default_rng(seed)
    means = _whole_speakers(data, group, random) if whole else _within(data, group, random)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(
        float(data.mean()),
        float(low),
        float(high),
        len(data),
        "speakers" if whole else "utterances",
    )


def paired(
    values: Mapping[str, float],
    baseline: Mapping[str, float],
    speakers: Mapping[str, Hashable] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Interval of the mean difference to a baseline over the utterances that both have.

    None where they have none in common.
    """
    common = [name for name in values if name in baseline]
    if not common:
        return None
    return bootstrap(
        [values[name] - baseline[name] for name in common],
        None if speakers is None else [speakers[name] for name in common],
        confidence=confidence,
        seed=seed,
    )


def _whole_speakers(
    data: Float[np.ndarray, " count"], group: np.ndarray, random: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    totals, counts = np.bincount(group, weights=data), np.bincount(group)
    times = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=DRAWS)
    return (times @ totals) / (times @ counts)


def _within(
    data: Float[np.ndarray, " count"], group: np.ndarray, random: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    total = np.zeros(DRAWS)
    for member in range(int(group.max()) + 1):
        own = data[group == member]
        times = random.multinomial(len(own), np.full(len(own), 1 / len(own)), size=DRAWS)
        total += times @ own
    return total / len(data)

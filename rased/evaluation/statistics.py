"""How sure a mean is, alone and against a baseline: intervals and tests that respect who speaks, and ranks.

Utterances of one voice are not independent. With five speakers or more, whole speakers are drawn,
so that an interval speaks of voices like these. With fewer, that is hopeless: utterances are drawn
within each speaker, and the interval speaks of these voices alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8

DRAWS = 2000
FLIPS = 99_999
"""Turns that are drawn where all of them are too many: the smallest p is 1e-5."""
ENUMERATED = 16
"""Speakers or utterances of which all turns are taken (2 ** 16 at most): p is exact."""
ENOUGH_SPEAKERS = 5
ENOUGH_TO_TURN = 12


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
    group = _numbered(speakers, len(data))
    whole = int(group.max()) + 1 >= ENOUGH_SPEAKERS
    means = _whole_speakers(data, group, seed) if whole else _within(data, group, seed)
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


def significance(
    differences: Sequence[float],
    speakers: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
) -> float:
    """Two-sided p of "the mean difference is zero": a paired sign-flip test, blocked like the intervals.

    Where nothing changed, each difference might as well have come with the other sign. With twelve
    speakers or more all utterances of a speaker turn together (fewer have too few turns to tell anything,
    and utterances turn alone: p then speaks of these voices). The share of such turns that reach the
    mean that was found is p (Fisher 1935): of all turns where sixteen or fewer turn, of 99 999 that are
    drawn and the found one where there are more (Phipson and Smyth, "Permutation p-values should never
    be zero", 2010).

    Args:
        differences: one an utterance, at least one.
        speakers: who speaks in each.
        seed: of the turns; equal input gives equal digits.
    """
    assert len(differences) > 0, "there is no difference between nothing"
    given = np.asarray(differences, dtype=np.float64)
    group = _numbered(speakers, len(given))
    whole = int(group.max()) + 1 >= ENOUGH_TO_TURN
    data = np.bincount(group, weights=given) if whole else given
    enough = abs(data.sum()) - 1e-9 * np.abs(data).sum()
    if len(data) <= ENUMERATED:
        return float(np.mean(np.abs(_all_sums(data)) >= enough))
    tables = np.stack(
        [_all_sums(part) for part in np.pad(data, (0, -len(data) % 8)).reshape(-1, 8)]
    )
    sums = np.zeros(FLIPS)
    for table, drawn in zip(tables, _turns(len(tables), seed), strict=True):
        sums += table[drawn]
    return float((1 + np.sum(np.abs(sums) >= enough)) / (1 + FLIPS))


def holm(values: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """P values corrected for their number: below alpha, the chance of any false one is below alpha.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected: dict[Hashable, float] = {}
    largest = 0.0
    for place, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        largest = min(1.0, max(largest, (len(values) - place) * value))
        corrected[name] = largest
    return corrected


def ranks(values: Mapping[str, float], *, higher: bool = True) -> dict[str, int]:
    """Place of each, 1 for the best; ties share the better place.

    >>> ranks({"a": 2.0, "b": 3.0, "c": 2.0, "d": 1.0})
    {'a': 2, 'b': 1, 'c': 2, 'd': 4}
    """
    sign = 1 if higher else -1
    return {
        name: 1 + sum(sign * other > sign * value for other in values.values())
        for name, value in values.items()
    }


def overall_rank(
    places: Mapping[str, Mapping[str, int]],
    category: Mapping[str, str],
    family: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """The ranking of the URGENT challenges: ranks of metrics, averaged in each category, then over the categories.

    Metrics of one family (PESQ and the composites that hold it, the heads of one network) are averaged
    before, so that each family has one vote in its category; the challenges rank one of each.

    W. Zhang et al., "URGENT challenge: universality, robustness, and generalizability for speech
    enhancement", Interspeech 2024 (arXiv 2406.04660).

    Args:
        places: metric -> system -> place (`ranks`); every metric ranks the same systems.
        category: metric -> intrusive, non-intrusive, ...
        family: metric -> its family; None: each metric is its own.

    Returns:
        System -> mean place; less is better.
    """
    systems = next(iter(places.values()), {})
    groups: dict[str, dict[str, list[str]]] = {}
    for metric in places:
        kin = metric if family is None else family[metric]
        groups.setdefault(category[metric], {}).setdefault(kin, []).append(metric)

    def mean(system: str) -> float:
        votes = [
            np.mean([np.mean([places[m][system] for m in kin]) for kin in families.values()])
            for families in groups.values()
        ]
        return float(np.mean(votes))

    return {system: mean(system) for system in systems}


def _numbered(speakers: Sequence[Hashable] | None, count: int) -> np.ndarray:
    """Speakers as numbers in order of appearance; all utterances by one where nobody knows."""
    order: dict[Hashable, int] = {}
    return np.array([order.setdefault(name, len(order)) for name in speakers or [None] * count])


def _whole_speakers(
    data: Float[np.ndarray, " count"], group: np.ndarray, seed: int
) -> Float[np.ndarray, " draws"]:
    totals, counts = np.bincount(group, weights=data), np.bincount(group)
    (times,) = _times((len(counts),), seed)
    return (times @ totals) / (times @ counts)


def _within(
    data: Float[np.ndarray, " count"], group: np.ndarray, seed: int
) -> Float[np.ndarray, " draws"]:
    total = np.zeros(DRAWS)
    for member, times in enumerate(_times(tuple(np.bincount(group).tolist()), seed)):
        total += times @ data[group == member]
    return total / len(data)


@lru_cache(maxsize=2)
def _times(sizes: tuple[int, ...], seed: int) -> list[Float[np.ndarray, "draws size"]]:
    """How often each member of each group is drawn; one board asks for the same again and again."""
    random = np.random.default_rng(seed)
    return [random.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(float) for n in sizes]


@lru_cache(maxsize=2)
def _turns(count: int, seed: int) -> UInt8[np.ndarray, "count flips"]:
    """Signs of eight members in each byte."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, FLIPS), dtype=np.uint8)


def _all_sums(data: Float[np.ndarray, " count"]) -> Float[np.ndarray, " turns"]:
    """The sums under all choices of signs, 2 ** count of them."""
    sums = np.zeros(1)
    for value in data:
        sums = np.concatenate([sums + value, sums - value])
    return sums

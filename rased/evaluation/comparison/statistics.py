"""Confidence intervals, significance tests and ranks that take speakers into account.

Utterances of one speaker are not independent. With at least five speakers, an interval refers to the population of
speakers: a t interval whose standard error is computed from sums over speakers (cluster-robust, CR2), with degrees
of freedom that account for unequal numbers of utterances. `experiments/0005-intervals` compares it with
other methods by simulation: a bootstrap of speakers covered the true mean in 82 to 94 % of nominal 95 % intervals.
With fewer speakers, nothing can be said about other speakers: the results refer to these recordings only.

R. M. Bell and D. F. McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage
samples", Survey Methodology 28(2), 2002; G. W. Imbens and M. Kolesár, "Robust standard errors in small
samples: some practical advice", Review of Economics and Statistics 98(4), 2016.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import special  # `scipy.stats.t` calls it, too, and takes a second to import

CONFIDENCE = 0.95
ENOUGH_VOICES = 5
"""Fewer speakers do not allow conclusions about other speakers."""


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: mean of the values.
        low: lower end of the interval; minus infinity if it cannot be computed.
        high: upper end.
        count: number of values.
        method: what the interval generalises to: "voices" (speakers like these), "utterances" (speakers are
            unknown), or only these "recordings" (fewer than five speakers).
    """

    mean: float
    low: float
    high: float
    count: int
    method: Literal["voices", "utterances", "recordings"]

    @property
    def half(self) -> float | None:
        """Return half of the width; None if the interval refers to these recordings only."""
        if self.method == "recordings" or math.isinf(self.high):
            return None
        return (self.high - self.low) / 2

    @property
    def ends(self) -> tuple[float, float]:
        """Return both ends for a drawing; both are the mean if the interval refers to these recordings only."""
        return (self.mean, self.mean) if self.half is None else (self.low, self.high)

    @property
    def excludes_zero(self) -> bool:
        """Return whether zero is outside the interval."""
        return self.low > 0 or self.high < 0


def interval(
    values: Sequence[float],
    speakers: Sequence[Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the confidence interval of a mean; see the module for the method.

    Args:
        values: one per utterance, at least one.
        speakers: speaker of each utterance; None if unknown: each utterance then counts as a speaker.
        confidence: probability that the interval contains the mean over all speakers like these.
    """
    found = _estimate(values, speakers)
    half = 0.0
    if found.error > 0:
        half = found.error * float(special.stdtrit(found.freedom, (1 + confidence) / 2))
    return Interval(found.mean, found.mean - half, found.mean + half, len(values), found.method)


def paired(
    values: Mapping[str, float],
    baseline: Mapping[str, float],
    speakers: Mapping[str, Hashable] | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Return the interval of the mean difference from a baseline, over the utterances that both have.

    None if they have no utterance in common.
    """
    common = [name for name in values if name in baseline]
    if not common:
        return None
    return interval(
        [values[name] - baseline[name] for name in common],
        None if speakers is None else [speakers[name] for name in common],
        confidence=confidence,
    )


def significance(differences: Sequence[float], speakers: Sequence[Hashable] | None = None) -> float:
    """Return the two-sided p value of a zero mean difference; below .05 if the 95 % interval excludes zero.

    Args:
        differences: one per utterance, at least one.
        speakers: speaker of each utterance.
    """
    found = _estimate(differences, speakers)
    # All differences are equal: only zero is no evidence.
    if found.error == 0:
        return float(found.mean == 0)
    return float(2 * special.stdtr(found.freedom, -abs(found.mean) / found.error))


def holm(values: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """Correct p values for multiple tests: below alpha, the probability of any false positive is below alpha.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected: dict[Hashable, float] = {}
    largest = 0.0
    for place, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        # The running maximum keeps corrected values in the order of the uncorrected ones.
        largest = min(1.0, max(largest, (len(values) - place) * value))
        corrected[name] = largest
    return corrected


def ranks(values: Mapping[str, float], *, higher: bool = True) -> dict[str, int]:
    """Return the rank of each system, 1 for the best; ties share the better rank.

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
    """Return overall ranks as in the URGENT challenges: average over metrics in each category, then over categories.

    Metrics of one family (PESQ and the composites that contain it, the outputs of one network) are averaged
    first, so that each family has one vote in its category. The challenges use one metric of each family.

    W. Zhang et al., "URGENT challenge: universality, robustness, and generalizability for speech
    enhancement", Interspeech 2024 (arXiv 2406.04660).

    Args:
        places: metric -> system -> rank (`ranks`); every metric ranks the same systems.
        category: metric -> intrusive, non-intrusive, ...
        family: metric -> family; None: each metric is its own family.

    Returns:
        System -> mean rank; lower is better.
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


@dataclass(frozen=True)
class _Estimate:
    """A mean with its standard error and degrees of freedom."""

    mean: float
    error: float
    freedom: float
    method: Literal["voices", "utterances", "recordings"]


def _estimate(values: Sequence[float], speakers: Sequence[Hashable] | None) -> _Estimate:
    assert len(values) > 0, "the mean of no values is undefined"
    data = np.asarray(values, dtype=np.float64)
    known = speakers is not None and any(name is not None for name in speakers)
    voice = _numbered(speakers) if speakers is not None and known else np.arange(len(data))
    voices = int(voice.max()) + 1
    if known and voices < ENOUGH_VOICES:
        return _of_recordings(data, voice, voices)
    if voices == 1:
        return _Estimate(float(data.mean()), math.inf, 1.0, "utterances")
    return _of_voices(data, voice, "voices" if known else "utterances")


def _of_recordings(data: Float[np.ndarray, " count"], voice: np.ndarray, voices: int) -> _Estimate:
    """Estimate the mean over utterances like these by the same speakers, from the variance within speakers."""
    # bincount with weights sums per speaker: subtract from each value the mean of its speaker.
    within = data - (np.bincount(voice, weights=data) / np.bincount(voice))[voice]
    freedom = len(data) - voices
    error = math.sqrt(np.square(within).sum() / freedom / len(data)) if freedom else math.inf
    # A t distribution needs at least one degree of freedom.
    return _Estimate(float(data.mean()), error, max(1.0, float(freedom)), "recordings")


def _of_voices(
    data: Float[np.ndarray, " count"], voice: np.ndarray, method: Literal["voices", "utterances"]
) -> _Estimate:
    """Estimate a cluster-robust (CR2) standard error, given the observed share of variance between speakers."""
    counts = np.bincount(voice)
    means = np.bincount(voice, weights=data) / counts
    weight = counts / len(data)
    mean = float(weight @ means)
    # CR2: the residual of a speaker is too small by sqrt(1 - weight), because the speaker is part of the
    # mean.
    parts = weight**2 / (1 - weight)
    square = float(parts @ np.square(means - mean))
    # One utterance per speaker: the usual t interval.
    if len(counts) == len(data):
        return _Estimate(mean, math.sqrt(square), len(data) - 1.0, method)
    share = _share_between(data, means[voice], counts)
    # Variance of the mean of each speaker, in units of the total variance.
    spread = share + (1 - share) / counts
    # `square` is the quadratic form means' A means with A = P' diag(parts) P and P = 1 - (weighted mean). Its degrees
    # of freedom follow from matching mean and variance to a chi-squared distribution (Satterthwaite).
    form = np.diag(parts) - np.outer(parts, weight) - np.outer(weight, parts)
    form += parts.sum() * np.outer(weight, weight)
    scaled = form * spread
    trace = float(np.trace(scaled))
    freedom = trace**2 / float((scaled * scaled.T).sum())
    # The variance of the mean over what the form expects: removes the bias for unequal speakers.
    unbiased = float(weight**2 @ spread) / trace
    return _Estimate(mean, math.sqrt(square * unbiased), freedom, method)


def _share_between(
    data: Float[np.ndarray, " count"], of_its_voice: Float[np.ndarray, " count"], counts: np.ndarray
) -> float:
    """Return the share of the variance that is between speakers, 0 to 1, by an analysis of variance."""
    voices, count = len(counts), len(data)
    within = float(np.square(data - of_its_voice).sum()) / (count - voices)
    between = float(np.square(of_its_voice - data.mean()).sum()) / (voices - 1)
    usual = (count - float(np.square(counts).sum()) / count) / (voices - 1)
    # The difference of the mean squares is `usual` times the variance between speakers (one-way ANOVA,
    # unequal sizes).
    shared = max(0.0, (between - within) / usual)
    return shared / (shared + within) if shared else 0.0


def _numbered(speakers: Sequence[Hashable]) -> np.ndarray:
    """Return speakers as integers, in order of appearance."""
    order = {name: place for place, name in enumerate(dict.fromkeys(speakers))}
    return np.array([order[name] for name in speakers])

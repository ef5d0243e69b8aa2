"""Intervals and tests by simulation with known truth, against closed forms, and what few voices allow."""

import math

import numpy as np
import pytest
from scipy import stats

from rased.evaluation.comparison.statistics import (
    holm,
    interval,
    overall_rank,
    paired,
    ranks,
    significance,
)

TRIALS = 300
SETTINGS = [
    (share, equal, skewed)
    for share in (0.0, 0.1, 0.3, 0.58)
    for equal in (True, False)
    for skewed in (False, True)
]


def normal(count, seed=0):
    return np.random.default_rng(seed).normal(2.0, 0.5, count)


def draw(voices, share, equal, skewed, random):
    """Values of a test set whose true mean is 0, as in experiments/0005-intervals."""
    counts = np.full(voices, 12) if equal else random.integers(4, 25, voices)
    voice = np.repeat(np.arange(voices), counts)
    if skewed:
        between = (random.gamma(4.0, size=voices) - 4.0) / 2.0
        within = (random.gamma(1.5, size=len(voice)) - 1.5) / np.sqrt(1.5)
    else:
        between, within = random.normal(size=voices), random.normal(size=len(voice))
    return (np.sqrt(share) * between[voice] + np.sqrt(1 - share) * within).tolist(), voice.tolist()


@pytest.mark.parametrize("voices", [5, 8, 13, 20, 30])
def test_intervals_hold_the_truth_as_often_as_they_say(voices):
    """95 %, whatever share of the variance voices have, with unequal numbers of utterances, skewed or not."""
    random = np.random.default_rng(voices)
    held = {}
    for setting in SETTINGS:
        found = [interval(*draw(voices, *setting, random)) for _ in range(TRIALS)]
        held[setting] = np.mean([not mean.excludes_zero for mean in found])
    # One setting: 300 trials scatter by .013. All of them: 4800 trials, by .003.
    assert all(0.9 <= share <= 0.985 for share in held.values()), held
    assert 0.93 <= np.mean(list(held.values())) <= 0.97


@pytest.mark.parametrize("voices", [5, 8, 13, 30])
def test_verdicts_are_false_as_seldom_as_they_say(voices):
    """No system of four differs from the baseline: any verdict on one of them, after Holm, is false."""
    random = np.random.default_rng(100 + voices)
    false = 0
    for trial in range(TRIALS):
        setting = SETTINGS[trial % len(SETTINGS)]
        drawn = [draw(voices, *setting, random) for _ in range(4)]
        p = holm({str(place): significance(*own) for place, own in enumerate(drawn)})
        false += min(p.values()) < 0.05
    # 300 trials scatter by .013: no more than a share of .06 gives once in a hundred runs.
    assert stats.binomtest(false, TRIALS, 0.06, alternative="greater").pvalue > 0.01


def test_equal_numbers_give_the_t_interval_of_the_means_of_voices():
    values = np.random.default_rng(1).normal(size=(9, 14)) + normal(9)[:, None]
    found = interval(values.ravel().tolist(), np.repeat(np.arange(9), 14).tolist())
    means = values.mean(1)
    low, high = stats.t.interval(0.95, 8, means.mean(), stats.sem(means))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.method, found.count) == ("voices", 126)


def test_nobody_knows_who_speaks_gives_the_t_interval_of_utterances():
    values = normal(40)
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    for speakers in (None, [None] * 40, list(range(40))):
        found = interval(values.tolist(), speakers)
        assert (found.low, found.high) == pytest.approx((low, high))
    assert interval(values.tolist()).method == "utterances"
    assert significance(values.tolist()) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_the_order_of_utterances_and_names_of_voices_do_not_matter():
    random = np.random.default_rng(4)
    values, voice = draw(7, 0.3, False, False, random)
    order = random.permutation(len(values))
    other = interval([values[k] for k in order], [f"voice {9 - voice[k]}" for k in order])
    assert vars(other) == pytest.approx(vars(interval(values, voice)))


def test_confidence_sets_the_width():
    values, voice = draw(30, 0.1, True, False, np.random.default_rng(5))
    narrow, wide = (interval(values, voice, confidence=c).half for c in (0.68, 0.95))
    assert wide / narrow == pytest.approx(stats.t.ppf(0.975, 29) / stats.t.ppf(0.84, 29))


def test_fewer_than_five_voices_claim_nothing_about_others():
    # Two voices far apart: the difference between them is no uncertainty of these two.
    values = np.concatenate([normal(200), 10 + normal(200, seed=1)])
    found = interval(values.tolist(), ["a"] * 200 + ["b"] * 200)
    assert (found.method, found.half, found.ends) == ("recordings", None, (found.mean,) * 2)
    within = math.sqrt((values[:200].var(ddof=1) + values[200:].var(ddof=1)) / 2 / 400)
    assert found.high - found.mean == pytest.approx(within * stats.t.ppf(0.975, 398))
    assert interval(values.tolist(), [k % 5 for k in range(400)]).half is not None


def test_one_value_tells_nothing():
    for speakers in (["a"], None):
        found = interval([1.5], speakers)
        assert (found.mean, found.half, found.excludes_zero) == (1.5, None, False)
        assert significance([1.5], speakers) == 1.0


def test_pairing_removes_what_utterances_share():
    hard = np.random.default_rng(2).normal(0, 5, 200)
    noisy = {str(k): float(v) for k, v in enumerate(hard)}
    better = {name: value + 0.3 for name, value in noisy.items()}
    alone, difference = interval(list(better.values())), paired(better, noisy)
    assert alone.low < np.mean(hard) < alone.high
    assert difference.excludes_zero
    assert (difference.low, difference.high) == pytest.approx((0.3, 0.3))


def test_pairs_are_the_utterances_that_both_have():
    found = paired({"a": 1.0, "b": 5.0}, {"b": 3.0, "c": 9.0}, {"a": "x", "b": "y", "c": "z"})
    assert (found.mean, found.count) == (2.0, 1)
    assert paired({"a": 1.0}, {"b": 2.0}) is None


def test_p_is_below_alpha_where_the_interval_leaves_out_zero():
    random = np.random.default_rng(6)
    for trial in range(200):
        values, voice = draw(6 + trial % 9, 0.3, trial % 2 == 0, False, random)
        moved = [value + 0.4 for value in values]
        assert (significance(moved, voice) < 0.05) == interval(moved, voice).excludes_zero


def test_many_utterances_of_few_voices_are_no_evidence():
    # Three voices far above and three far below by nearly as much: chance, however many utterances there are.
    values = np.repeat([5.0, -4.0] * 3, 500) + normal(3000)
    assert significance(values.tolist(), np.repeat(np.arange(6), 500).tolist()) > 0.2


def test_no_difference_at_all_is_no_verdict_and_the_same_one_everywhere_is():
    assert significance([0.0] * 12, list(range(6)) * 2) == 1.0
    assert significance([0.5] * 12, list(range(6)) * 2) < 1e-9


def test_holm_by_hand():
    # 4 x .01, 3 x .013, 2 x .03, 1 x .04, none below the one before it, none above 1.
    assert holm({"a": 0.03, "b": 0.01, "c": 0.04, "d": 0.013}) == pytest.approx(
        {"b": 0.04, "d": 0.04, "a": 0.06, "c": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}


def test_urgent_ranking_by_hand():
    # Intrusive: PESQ and LSD (less is better); non-intrusive: OVRL.
    pesq = ranks({"x": 3.0, "y": 2.5, "z": 2.5, "w": 1.0})
    lsd = ranks({"x": 2.0, "y": 1.0, "z": 3.0, "w": 3.0}, higher=False)
    ovrl = ranks({"x": 2.0, "y": 2.0, "z": 3.5, "w": 1.0})
    assert pesq == {"x": 1, "y": 2, "z": 2, "w": 4}
    assert lsd == {"x": 2, "y": 1, "z": 3, "w": 3}
    assert ovrl == {"x": 2, "y": 2, "z": 1, "w": 4}
    category = {"pesq": "intrusive", "lsd": "intrusive", "ovrl": "non-intrusive"}
    found = overall_rank({"pesq": pesq, "lsd": lsd, "ovrl": ovrl}, category)
    assert found == {"x": 1.75, "y": 1.75, "z": 1.75, "w": 3.75}


def test_a_family_has_one_vote_by_hand():
    # PESQ and a composite that holds it are one family (x 1, y 2), LSD another (x 2, y 1).
    places = {"pesq": {"x": 1, "y": 2}, "covl": {"x": 1, "y": 2}, "lsd": {"x": 2, "y": 1}}
    category = dict.fromkeys(places, "intrusive")
    family = {"pesq": "pesq", "covl": "pesq", "lsd": "lsd"}
    assert overall_rank(places, category, family) == {"x": 1.5, "y": 1.5}
    assert overall_rank(places, category) == pytest.approx({"x": 4 / 3, "y": 5 / 3})

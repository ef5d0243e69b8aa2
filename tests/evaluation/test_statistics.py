"""Bootstrap intervals against closed forms, and their blocking by speaker."""

import itertools

import numpy as np
import pytest

from rased.evaluation.statistics import (
    bootstrap,
    holm,
    overall_rank,
    paired,
    ranks,
    significance,
)


def normal(count, seed=0):
    return np.random.default_rng(seed).normal(2.0, 0.5, count)


def test_interval_of_independent_values_is_that_of_the_mean():
    values = normal(400)
    found = bootstrap(list(values))
    expected = 1.96 * values.std() / np.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.half == pytest.approx(expected, rel=0.08)
    assert (found.count, found.method) == (400, "utterances")


def test_confidence_sets_the_width():
    values = list(normal(400))
    narrow, wide = (bootstrap(values, confidence=c).half for c in (0.68, 0.95))
    assert wide / narrow == pytest.approx(1.96 / 0.9945, rel=0.08)


def test_many_speakers_are_drawn_whole():
    # 20 speakers of 30 equal values: what varies is the speaker, 20 draws and not 600.
    levels = normal(20, seed=1)
    values, speakers = np.repeat(levels, 30), np.repeat(np.arange(20), 30)
    found = bootstrap(list(values), list(speakers))
    assert found.half == pytest.approx(1.96 * levels.std() / np.sqrt(20), rel=0.1)
    assert found.method == "speakers"


def test_few_speakers_are_drawn_from_within():
    # Two voices far apart: the difference between them is no uncertainty of these two voices.
    values = np.concatenate([normal(200), 10 + normal(200, seed=1)])
    speakers = ["a"] * 200 + ["b"] * 200
    found = bootstrap(list(values), speakers)
    within = np.sqrt(values[:200].var() + values[200:].var()) / 2 / np.sqrt(200)
    assert found.half == pytest.approx(1.96 * within, rel=0.08)
    assert found.method == "utterances"


def test_pairing_removes_what_utterances_share():
    hard = np.random.default_rng(2).normal(0, 5, 200)
    noisy = {str(k): float(v) for k, v in enumerate(hard)}
    better = {name: value + 0.3 for name, value in noisy.items()}
    alone, difference = bootstrap(list(better.values())), paired(better, noisy)
    assert alone.low < np.mean(hard) < alone.high
    assert difference.excludes_zero
    assert (difference.low, difference.high) == pytest.approx((0.3, 0.3))


def test_pairs_are_the_utterances_that_both_have():
    found = paired({"a": 1.0, "b": 5.0}, {"b": 3.0, "c": 9.0}, {"a": "x", "b": "y", "c": "z"})
    assert (found.mean, found.count) == (2.0, 1)
    assert paired({"a": 1.0}, {"b": 2.0}) is None


def test_no_difference_includes_zero():
    noise = np.random.default_rng(3).normal(0, 1, (2, 100))
    first, second = ({str(k): float(v) for k, v in enumerate(row)} for row in noise)
    assert not paired(first, second).excludes_zero


def test_equal_input_gives_equal_digits_and_the_seed_counts():
    values, speakers = list(normal(50)), [k % 7 for k in range(50)]
    assert bootstrap(values, speakers) == bootstrap(values, speakers)
    assert bootstrap(values, speakers, seed=1).low != bootstrap(values, speakers).low


def test_one_value_is_an_interval_of_no_width():
    found = bootstrap([1.5], ["a"])
    assert (found.low, found.mean, found.high) == (1.5, 1.5, 1.5)


def test_significance_is_that_of_all_turns():
    differences = [0.3, -0.1, 0.5, 0.2, 0.4, 0.1, -0.2, 0.6]
    turns = np.array(list(itertools.product((-1, 1), repeat=8))) @ differences
    assert significance(differences) == np.mean(np.abs(turns) >= sum(differences) - 1e-12)


def test_thirteen_speakers_turn_in_all_ways():
    # All speakers agree: two of the 2 ** 13 turns reach the mean, and no draw blurs that.
    values, speakers = np.repeat(1 + normal(13), 9), np.repeat(np.arange(13), 9)
    assert significance(list(values), list(speakers)) == 2 / 2**13


def test_drawn_turns_are_near_all_turns():
    values = list(np.random.default_rng(4).normal(0.4, 1, 17))
    turns = np.array(list(itertools.product((-1.0, 1.0), repeat=17))) @ values
    exact = np.mean(np.abs(turns) >= abs(sum(values)) - 1e-9)
    found = significance(values)
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 100_000))
    assert found == significance(values)


def test_drawn_turns_reach_far_enough_for_many_comparisons():
    # A thousand comparisons corrected by Holm are still below 0.05.
    assert significance([1.0] * 40) == pytest.approx(1e-5)


def test_significance_of_nothing_is_uniform():
    random = np.random.default_rng(3)
    found = [significance(list(random.normal(size=30)), seed=k) for k in range(200)]
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_significance_turns_whole_speakers():
    # Twelve speakers, six far above and six far below by as much: chance, however many utterances there are.
    values = np.repeat([5.0, -4.0] * 6, 50)
    assert significance(list(values), list(np.repeat(np.arange(12), 50))) > 0.5
    assert significance(list(values), list(np.repeat(np.arange(6), 100))) < 0.05


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

"""Bootstrap intervals against closed forms, and their blocking by speaker."""

import numpy as np
import pytest

from rased.evaluation.statistics import bootstrap, paired


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

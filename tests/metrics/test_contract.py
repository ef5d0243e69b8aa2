"""What every metric keeps: range, direction, statuses, rates, no side effects."""

import numpy as np
import pytest
import torch

from rased.errors import RasedError
from rased.metrics import METRICS, Score, metric
from rased.metrics.base import Metric

ALL = pytest.mark.parametrize("name", sorted(METRICS))


def score(name, estimate, target, sample_rate=16_000):
    return metric(name)(estimate=estimate, target=target, sample_rate=sample_rate)


@ALL
def test_better_signals_score_better_and_inside_the_range(name, noisy, target):
    ours = metric(name)
    drowned = target + 10 ** (15 / 20) * (noisy - target)
    better, worse = score(name, target, target), score(name, drowned, target)
    assert better.status == worse.status == "ok"
    sign = 1 if ours.direction == "higher" else -1
    assert sign * better.value > sign * worse.value
    low, high = ours.range
    assert low <= worse.value <= high
    assert low <= better.value <= high


@ALL
def test_same_input_same_digits_and_no_global_draw(name, noisy, target):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = score(name, noisy, target), score(name, noisy, target)
    assert first == second
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@ALL
@pytest.mark.parametrize("case", ["silent estimate", "one sample", "empty", "nan"])
def test_input_without_a_value_gets_a_status(name, case, target):
    estimate = {
        "silent estimate": torch.zeros_like(target),
        "one sample": target[:1],
        "empty": target[:0],
        "nan": torch.full_like(target, float("nan")),
    }[case]
    outcome = score(name, estimate, target[: len(estimate)])
    assert outcome.value is None
    assert outcome.status.startswith("undefined: ")


@ALL
def test_a_silent_target_is_undefined_where_it_is_needed(name, target):
    outcome = score(name, target, torch.zeros_like(target))
    assert outcome.status == (
        "undefined: the target is silent" if metric(name).needs_reference else "ok"
    )


@ALL
def test_another_rate_is_refused_not_resampled(name, noisy, target):
    if metric(name).sample_rate is None:
        assert score(name, noisy, target, 48_000).status == "ok"
    else:
        with pytest.raises(RasedError, match="defined at 16000 Hz and was given 48000 Hz"):
            score(name, noisy, target, 48_000)


@ALL
def test_a_missing_package_is_a_status(name, noisy, target, monkeypatch):
    ours = metric(name)
    monkeypatch.setattr(type(ours), "packages", ("no-such-package",))
    outcome = score(name, noisy, target)
    assert outcome == Score(None, "unavailable: pip install no-such-package")


@ALL
def test_every_metric_declares_itself(name):
    ours = metric(name)
    assert ours.name == name
    assert ours.unit in ("", "dB", "MOS")
    assert ours.range[0] < ours.range[1]
    assert "missing" not in ours.version
    assert any(character.isdigit() for character in ours.version)


def test_lengths_and_the_reference_are_checked(noisy, target):
    with pytest.raises(RasedError, match="estimate of 47990 and a target of 48000 samples"):
        score("stoi", noisy[:-10], target)
    with pytest.raises(RasedError, match="pass target="):
        score("stoi", noisy, None)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(RasedError, match="did you mean 'pesq-wb'"):
        metric("pesqwb")


def test_a_result_that_is_not_finite_is_no_value(target):
    class Broken(Metric):
        name, title, range = "broken", "Broken", (0.0, 1.0)

        def measure(self, estimate, target):
            return float("inf")

    outcome = Broken()(estimate=target, target=target, sample_rate=8000)
    assert outcome.status == "undefined: the result is not a finite number"

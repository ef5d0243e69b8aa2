"""What every metric keeps: range, direction, statuses, rates, no side effects."""

import math
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from rased.errors import RasedError
from rased.metrics import METRICS, Score, metric
from rased.metrics.base import Metric, forget, remember
from tests import EXCERPTS
from tests.metrics.conftest import SAID

ALL = pytest.mark.parametrize("name", METRICS)
HERE = pytest.mark.parametrize(
    "name", [name for name, ours in METRICS.items() if not ours.unavailable()]
)


@pytest.fixture(scope="module")
def spoken(spoken):
    """Less than two seconds: every metric hears it many times."""
    return spoken[:28_000]


@pytest.fixture(scope="module")
def in_babble(in_babble):
    """The same in babble."""
    return in_babble[:28_000]


def score(name, estimate, target, sample_rate=16_000, text=SAID):
    return metric(name)(estimate=estimate, target=target, text=text, sample_rate=sample_rate)


@HERE
def test_better_signals_score_better_and_inside_the_range(name, in_babble, spoken):
    ours = metric(name)
    drowned = spoken + 10 ** (15 / 20) * (in_babble - spoken)
    if ours.task == "recognition":  # 5 dB are enough, and a recogniser guesses long at noise
        drowned = in_babble
    better, worse = score(name, spoken, spoken), score(name, drowned, spoken)
    assert better.status == worse.status == "ok"
    sign = 1 if ours.direction == "higher" else -1
    assert sign * better.value > sign * worse.value
    low, high = ours.range
    assert low <= worse.value <= high
    assert low <= better.value <= high


@HERE
def test_same_input_same_digits_and_no_global_draw(name, in_babble, spoken):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = score(name, in_babble, spoken), score(name, in_babble, spoken)
    assert first == second
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


SHARED = {
    "csig": ("pesq-wb", "csig", "cbak", "covl"),
    "dnsmos-sig": ("dnsmos-sig", "dnsmos-bak", "dnsmos-ovrl"),
}
"""Metrics that are one computation: looked at together, so that it is made once a pair of signals."""
COSTLY = {"csig", "pesq-nb", "dnsmos-p808", "dnsmos-sig", "distillmos", "srmr"}


def _alone_or_shared():
    """Metrics by the computations that they share; recognisers: test_recognition.py."""
    followers = {name for names in SHARED.values() for name in names} - SHARED.keys()
    return {
        name: [n for n in SHARED.get(name, (name,)) if not METRICS[n].unavailable()]
        for name, ours in METRICS.items()
        if name not in followers and ours.task != "recognition" and not ours.unavailable()
    }


@pytest.mark.parametrize("names", _alone_or_shared().values(), ids="+".join)
def test_a_value_depends_on_its_signals_alone(names):
    """Whatever was measured before, and by which instance."""
    files = sorted((EXCERPTS / "target").glob("*.flac"))
    pairs = []
    for path in files[:2] if names[0] in COSTLY else files:
        target, estimate = (
            torch.from_numpy(soundfile.read(file, dtype="float32")[0])
            for file in (path, path.parents[1] / "noisy" / path.name)
        )
        pairs += [
            (estimate[part], target[part]) for part in (slice(0, 16_000), slice(16_000, 30_000))
        ]
    asked = [(name, place) for name in names for place in range(len(pairs))]
    alone = {}
    for place, (estimate, target) in enumerate(pairs):
        forget()
        for name in names:
            ours = type(metric(name))()
            alone[name, place] = ours(estimate=estimate, target=target, sample_rate=16_000)
    for seed in range(1 if names[0] in COSTLY else 2):
        forget()
        order = np.random.default_rng(seed).permutation(len(asked)).tolist()
        found = {asked[turn]: score(asked[turn][0], *pairs[asked[turn][1]]) for turn in order}
        assert found == alone
    for name in names:
        values = {alone[name, place].value for place in range(len(pairs))}
        assert len(values) > len(pairs) / 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (name, change)
        for name, ours in METRICS.items()
        for change in ours.blind_to
        if not ours.unavailable()
    ],
)
def test_what_a_metric_is_blind_to_does_not_change_it(name, change, in_babble, spoken):
    changed = 0.5 * in_babble if change == "level" else in_babble + 0.02
    plain, other = score(name, in_babble, spoken), score(name, changed, spoken)
    assert other.value == pytest.approx(plain.value, rel=1e-3, abs=5e-3)


@HERE
@pytest.mark.parametrize("case", ["silent estimate", "one sample", "empty", "nan"])
def test_input_without_a_value_gets_a_status(name, case, spoken):
    estimate = {
        "silent estimate": torch.zeros_like(spoken),
        "one sample": spoken[10_000:10_001],
        "empty": spoken[:0],
        "nan": torch.full_like(spoken, float("nan")),
    }[case]
    outcome = score(name, estimate, spoken[: len(estimate)])
    assert outcome.value is None
    assert outcome.status.startswith("undefined: ")


@HERE
def test_pauses_of_digital_silence_are_no_trouble(name, in_babble, spoken):
    gated, pause = in_babble.clone(), slice(14_000, 20_000)
    gated[pause] = 0
    outcome = score(name, gated, spoken)
    assert outcome.status == "ok"
    assert math.isfinite(outcome.value)
    quiet = spoken.clone()
    quiet[pause] = 0
    assert score(name, gated, quiet).status == "ok"


@HERE
def test_a_silent_target_is_undefined_where_it_is_needed(name, spoken):
    outcome = score(name, spoken, torch.zeros_like(spoken))
    assert outcome.status == (
        "undefined: the target is silent" if metric(name).needs_reference else "ok"
    )


@ALL
def test_another_rate_is_refused_not_resampled(name, in_babble, spoken):
    if metric(name).sample_rate is None:
        assert score(name, in_babble, spoken, 48_000).status == "ok"
    else:
        with pytest.raises(RasedError, match="defined at 16000 Hz, but was given 48000 Hz"):
            score(name, in_babble, spoken, 48_000)


@ALL
def test_a_missing_package_is_a_status(name, in_babble, spoken, monkeypatch):
    ours = metric(name)
    monkeypatch.setattr(type(ours), "packages", ("no-such-package",))
    outcome = score(name, in_babble, spoken)
    assert outcome == Score(None, f"unavailable: {ours.pip} no-such-package")


@ALL
def test_every_metric_declares_itself(name):
    ours = metric(name)
    assert ours.name == name
    assert ours.unit in ("", "dB", "MOS")
    assert ours.range[0] < ours.range[1]
    assert ("missing" in ours.version) <= bool(ours.unavailable())
    assert any(character.isdigit() for character in ours.version)
    declared = ours.declaration()
    assert declared["range"][0] == ours.range[0]
    assert declared["range"][1] == (ours.range[1] if math.isfinite(ours.range[1]) else None)
    assert declared["reference"] == (
        "transcript" if ours.needs_text else "target" if ours.needs_reference else "none"
    )


def test_lengths_and_references_are_checked(in_babble, spoken):
    with pytest.raises(RasedError, match="estimate of 100 and a target of 110 samples"):
        score("stoi", in_babble[:100], spoken[:110])
    with pytest.raises(RasedError, match="pass target="):
        score("stoi", in_babble, None)
    with pytest.raises(RasedError, match="pass text="):
        score("wer", in_babble, None, text=None)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(RasedError, match="did you mean 'pesq-wb'"):
        metric("pesqwb")


def test_a_result_that_is_not_finite_is_no_value(spoken):
    class Broken(Metric):
        name, title, range = "broken", "Broken", (0.0, 1.0)

        def measure(self, estimate, target):
            return float("inf")

    outcome = Broken()(estimate=spoken, target=spoken, sample_rate=8000)
    assert outcome.status == "undefined: the result is not a finite number"


def test_what_is_remembered_is_told_apart_by_content_and_forgotten_in_turn():
    calls = []

    @remember
    def total(values, factor):
        calls.append(factor)
        return float(values.sum()) * factor

    ones = np.ones(4)
    assert (total(ones, 2), total(ones.copy(), 2), total(ones, 3)) == (8.0, 8.0, 12.0)
    assert total(ones.reshape(2, 2), 2) == 8.0
    assert calls == [2, 3, 2]
    for factor in range(100):
        total(ones, factor)
    total(ones, 2)
    assert calls.count(2) == 3


PLUG_IN = """
from rased.metrics.base import Metric

class Peak(Metric):
    name, title, range, needs_reference = "peak", "Peak", (0.0, 1.0), False

    @property
    def version(self):
        return "peak 1"

    def measure(self, estimate, target):
        return float(estimate.abs().max())

class Impostor(Peak):
    name = "pesq-wb"
"""


def _package(folder, entry):
    (folder / "peaks.py").write_text(PLUG_IN)
    described = folder / "peaks-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: peaks\nVersion: 1\n")
    (described / "entry_points.txt").write_text(f"[rased.metrics]\n{entry}\n")


def _python(folder, code):
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_package_brings_a_metric(tmp_path):
    _package(tmp_path, "peak = peaks:Peak")
    code = (
        "import torch; from rased.metrics import metric;"
        "print(metric('peak')(estimate=torch.tensor([0.25, -0.5]), sample_rate=8000).value)"
    )
    done = _python(tmp_path, code)
    assert done.stdout == "0.5\n", done.stderr


def test_a_broken_plug_in_is_named(tmp_path):
    _package(tmp_path, "impostor = peaks:Impostor")
    done = _python(tmp_path, "import rased.metrics")
    assert "RasedError: the metric 'impostor' of the package 'peaks' cannot be used" in done.stderr
    assert "the metric name 'pesq-wb' is taken" in done.stderr

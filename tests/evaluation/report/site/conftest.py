"""A page of two boards: "tiny", with audio, and one of the same name as a test set with published figures."""

import copy

import pytest

from rased.evaluation import collect, write_page
from rased.metrics import Score


def changed(row, name, *, by=0.0, **system):
    """A result like another one, with its scores moved."""
    other = copy.deepcopy(row)
    other.system |= {"name": name, **system}
    for utterance in other.utterances:
        for metric, score in utterance.scores.items():
            step = by / 100 if metric == "stoi" else by
            utterance.scores[metric] = Score(score.value + step)
    return other


@pytest.fixture(scope="package")
def tiny(scored):
    """Results of noisy, target, log-mmse and two more that are worse and cost more."""
    rows = collect([scored])
    (method,) = (row for row in rows if row.name == "log-mmse")
    method.system["macs_per_second"] = 10**6
    heavy = changed(
        method, "heavy", by=-1.0, kind="run", parameters=5_000_000, macs_per_second=10**10
    )
    late = changed(
        method, "late", by=-2.0, kind="zoo", parameters=50_000, macs_per_second=10**8, causal=False
    )
    late.protocol["metrics"]["stoi"]["version"] = "another"
    return [*rows, heavy, late]


@pytest.fixture(scope="package")
def page(tiny, scored, tmp_path_factory):
    """The page's index.html."""
    known = copy.deepcopy(tiny[:3])
    for row in known:
        row.testset |= {"name": "voicebank-demand", "list_sha256": "another list"}
    folder = tmp_path_factory.mktemp("page")
    return write_page([*tiny, *known], folder, audio_folder=scored / "audio", examples=2)

"""A score belongs to its utterance: neither the number of processes nor the order of the utterances changes it."""

import random
import shutil

import pytest

from rased.evaluation import evaluate
from rased.evaluation.testset import BUNDLE, read_testset
from rased.metrics import metric

needs_recogniser = pytest.mark.skipif(
    bool(metric("dwer").unavailable()), reason=metric("dwer").unavailable() or "here"
)


@pytest.fixture(scope="module")
def originals():
    """Sixteen utterances of the bundled set, by name."""
    return {item.id: item for item in read_testset(BUNDLE).items[::9][:16]}


def scored(folder, originals, names, jobs):
    """The scores by original utterance, of a plain test set that lists them in the order of `names`."""
    for part in ("noisy", "target"):
        (folder / "set" / part).mkdir(parents=True)
        for place, name in enumerate(names):
            shutil.copy(getattr(originals[name], part), folder / "set" / part / f"{place:02}.flac")
    (row,) = evaluate(["noisy"], folder / "set", folder, metrics=["dwer", "si-sdr"], jobs=jobs)
    return {
        name: {metric: score.value for metric, score in utterance.scores.items()}
        for name, utterance in zip(names, row.utterances, strict=True)
    }


@pytest.mark.slow
@needs_recogniser
def test_recognition_is_the_same_for_any_processes_and_any_order(originals, tmp_path):
    names = list(originals)
    first = scored(tmp_path / "1", originals, names, jobs=1)
    assert len({scores["dwer"] for scores in first.values()}) > 3
    for jobs in (2, 3):
        assert scored(tmp_path / str(jobs), originals, names, jobs) == first
    shuffled = random.Random(4).sample(names, len(names))
    assert scored(tmp_path / "shuffled", originals, shuffled, jobs=2) == first

"""Batches: each utterance once, what suits a system, bounded; and the scores of one at a time."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rased.evaluation import evaluate
from rased.evaluation import result as results
from rased.evaluation.scoring import batches, run
from rased.evaluation.scoring.batches import FILL, SECONDS, SHARE, company, plan
from rased.evaluation.scoring.jobs import Job, together
from rased.evaluation.scoring.systems import System
from rased.evaluation.testset import Item
from rased.models.classical import OMLSA
from tests.evaluation.conftest import METRICS, speechlike

SYSTEMS = [System(name, "classical", name) for name in ("first", "second")]


def jobs(*seconds, system=SYSTEMS[0]):
    return [
        Job(system, Item(f"u{place}", Path(), None), length, (), None, False)
        for place, length in enumerate(seconds)
    ]


def lengths(found):
    return [[job.seconds for job in batch] for batch in found]


MIXED = [0.5 + (37 * place % 101) / 10 for place in range(100)]


@pytest.mark.parametrize("kind", ["similar", "equal", "none"])
def test_every_utterance_once_and_systems_in_a_row(kind):
    todo = [job for system in SYSTEMS for job in jobs(*MIXED, system=system)]
    found = plan(todo, {"first": kind, "second": kind})
    flat = [job for batch in found for job in batch]
    assert sorted(flat, key=str) == sorted(todo, key=str)
    assert all(len({job.system for job in batch}) == 1 for batch in found)
    assert [job.system for job in flat] == [job.system for job in todo]
    for own in (flat[:100], flat[100:]):
        assert [job.seconds for job in own] == sorted(MIXED, reverse=True)


def test_a_batch_is_bounded_and_hardly_filled_up():
    found = plan(jobs(*MIXED), {"first": "similar"})
    left = sum(MIXED)
    assert max(map(len, found)) > 3
    for batch in found:
        filled = len(batch) * batch[0].seconds
        assert len(batch) == 1 or filled <= min(SECONDS, left / SHARE)
        assert batch[-1].seconds >= FILL * batch[0].seconds
        left -= sum(job.seconds for job in batch)
    assert {len(batch) for batch in found[-SHARE:]} == {1}


def test_utterances_of_unknown_length_go_alone():
    for kind in ("similar", "equal", "none"):
        found = lengths(plan(jobs(0.0, 2.0, 0.0, 2.0), {"first": kind}))
        assert found[-2:] == [[0.0], [0.0]]
    assert lengths(plan(jobs(0.0, 0.0), {"first": "similar"})) == [[0.0], [0.0]]


def test_what_is_not_causal_meets_its_equals_alone():
    found = lengths(plan(jobs(*[2.0] * 30, *[2.1] * 30), {"first": "equal"}))
    assert max(map(len, found)) > 3
    assert all(len(set(batch)) == 1 for batch in found)


@pytest.mark.parametrize(
    ("causal", "gain", "kind"),
    [
        (True, 1.5, "similar"),
        (False, 1.5, "equal"),
        (True, 0.9, "none"),
        (None, None, "none"),
    ],
)
def test_company(causal, gain, kind):
    assert company(causal=causal, gain=gain) == kind


def test_together_is_alone():
    enhancer = OMLSA().eval()
    waveforms = [speechlike(index, 0.7 + 0.1 * index).astype("float32") for index in range(4)]
    with torch.inference_mode():
        keys = [str(index) for index in range(len(waveforms))]
        found = together(enhancer, waveforms, keys)
        alone = [
            together(enhancer, [waveform], [key])[0]
            for waveform, key in zip(waveforms, keys, strict=True)
        ]
    for one, other in zip(found, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_scores_of_batches_are_those_of_one_at_a_time(scored, folder, tmp_path, monkeypatch):
    alone = results.load(scored / "log-mmse--tiny.json")  # six short utterances: none had company
    # The same result before its first score, so that the cost is not measured again.
    results.save(replace(alone, utterances=[]), tmp_path / "log-mmse--tiny.json")
    sizes = []

    def counting(*arguments):
        sizes.extend(map(len, found := plan(*arguments)))
        return found

    monkeypatch.setattr(batches, "SHARE", 1)
    monkeypatch.setattr(batches, "PAYS", 0.0)
    monkeypatch.setattr(run, "plan", counting)
    (together,) = evaluate(["log-mmse"], folder, tmp_path, metrics=METRICS)
    assert sizes == [6]
    for one, other in zip(together.utterances, alone.utterances, strict=True):
        assert one.id == other.id
        for metric in METRICS:
            ours, theirs = (u.scores[metric].value for u in (one, other))
            assert ours == pytest.approx(theirs, abs=1e-4)

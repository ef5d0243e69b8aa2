"""Scores computed again: true ones stay, invented ones are found though the hash is right."""

import shutil

import numpy as np
import pytest

from rased.cli import main
from rased.evaluation import collect
from rased.evaluation import result as results
from rased.evaluation.scoring.recheck import recheck
from rased.evaluation.testset import read_testset
from rased.metrics import Score


def draw():
    return np.random.default_rng(0)


def test_true_results_are_found_again(scored, folder):
    found = recheck(collect([scored]), [read_testset(folder)], count=2, random=draw())
    assert {one.system for one in found} == {"noisy", "target", "log-mmse"}
    for one in found:
        assert (len(one.ids), one.scores, one.problems, one.why_not) == (2, 4, (), "")
        assert one.largest < 1e-4
    assert "4 scores of" in str(found[0])


def test_an_invented_score_is_found(scored, folder, tmp_path, capsys):
    shutil.copytree(scored, tmp_path / "results", ignore=shutil.ignore_patterns("audio"))
    path = tmp_path / "results" / "log-mmse--tiny.json"
    row = results.load(path)
    for utterance in row.utterances:
        utterance.scores["si-sdr"] = Score(utterance.scores["si-sdr"].value + 0.02)
    results.save(row, path)
    words = ["leaderboard", str(tmp_path / "results"), "--recheck", "2", "--on", str(folder)]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "2 scores differ from those computed on this machine (tolerance 0.01)" in said
    assert "noisy on tiny: 4 scores of" in said
    assert said.count("log-mmse on tiny, u") == 2
    path.unlink()
    assert main(words) == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: row.system.update(kind="files"), "its files were made by something else"),
        (lambda row: row.system.update(name="gone"), "there is no checkpoint or method 'gone'"),
        (lambda row: row.system.update(sha256="0" * 64), "other weights, settings or code"),
        (lambda row: row.testset.update(list_sha256="0"), "is not among those of --on"),
        (lambda row: row.protocol.update(resampler="other"), "with another protocol"),
        (
            lambda row: [m.update(version="0") for m in row.protocol["metrics"].values()],
            "none of its metrics is available here",
        ),
    ],
)
def test_what_cannot_be_computed_again_is_said(scored, folder, change, why):
    row = results.load(scored / "noisy--tiny.json")
    change(row)
    (found,) = recheck([row], [read_testset(folder)], count=1, random=draw())
    assert why in found.why_not
    assert "not recomputed" in str(found)

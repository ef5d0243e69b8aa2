"""`rased evaluate` and `rased leaderboard`, as they are typed."""

import json

import pytest

from rased.cli import main
from tests.evaluation.conftest import write_set


@pytest.fixture(scope="module")
def out(tmp_path_factory, little_cost):
    base = tmp_path_factory.mktemp("cli")
    testset = write_set(base / "tiny", names=["a", "b"])
    words = ["--metrics", "si-sdr", "stoi", "--jobs", "1", "--save-audio"]
    code = main(
        ["evaluate", "noisy", "log-mmse", "--on", str(testset), "--out", str(base / "out"), *words]
    )
    assert code == 0
    return base / "out"


def test_results_and_audio_are_written(out):
    assert sorted(path.name for path in out.glob("*.json")) == [
        "log-mmse--tiny.json",
        "noisy--tiny.json",
    ]
    assert (out / "audio" / "tiny" / "log-mmse" / "a.wav").is_file()


def test_leaderboard_prints_a_table(out, capsys):
    assert main(["leaderboard", str(out)]) == 0
    printed = capsys.readouterr()
    assert "log-mmse" in printed.out
    assert printed.err == ""


def test_leaderboard_as_json_and_page(out, capsys, tmp_path):
    assert main(["leaderboard", str(out), "--json", "--html", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert [row["system"]["name"] for row in json.loads(printed.out)[0]["rows"]]
    assert 'class="example"' in (tmp_path / "index.html").read_text()


def test_mistakes_are_one_sentence_and_exit_2(out, capsys, tmp_path):
    assert main(["leaderboard", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["evaluate", "noisy", "--on", "no-such-folder", "--out", str(tmp_path)]) == 2
    assert "the test set 'no-such-folder' does not exist" in capsys.readouterr().err
    assert main(["evaluate", "nosy", "--on", "bundle", "--out", str(tmp_path)]) == 2
    assert "did you mean 'noisy'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "leaderboard"])
def test_help_has_an_example(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"  rased {verb} " in capsys.readouterr().out

"""Ten CPU minutes for every architecture: the parts of the experiment, and the whole of it with one in miniature."""

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import rased
from rased.models.registry import list_models
from tests.experiments.modules import loaded

ROOT = Path(__file__).parents[2]
RUN = ROOT / "experiments" / "0013-box-by-box" / "run.py"


@pytest.fixture(scope="module")
def run():
    with loaded(RUN, "box_by_box") as module:
        yield module


def test_every_family_is_there_once(run):
    """A name without its size stands for the class; of every architecture that has a small variant, one is trained."""
    assert len(set(run.FAMILIES)) == len(run.FAMILIES)
    assert {*run.FAMILIES} <= {*list_models()}


def test_steps_fill_the_budget_to_two_digits(run):
    for seconds in (0.0123, 0.35, 3.3, 99.0):
        assert run.steps_of(seconds) * seconds == pytest.approx(600, rel=0.05)
        assert len(str(run.steps_of(seconds)).rstrip("0")) <= 2
    assert run.steps_of(1e6) == 1


def test_steps_of_another_configuration_do_not_count(run, tmp_path):
    file = tmp_path / "steps.json"
    row = {"cpu_seconds_per_step": 1.0, "steps": 600, "calls_per_step": 10}
    rows = {
        "gtcrn": {**row, "config_sha256": run.digest("gtcrn")},
        "dtln": {**row, "config_sha256": "old"},
    }
    file.write_text(json.dumps(rows))
    assert run.read_steps(file) == {"gtcrn": rows["gtcrn"]}
    assert run.read_steps(tmp_path / "none.json") == {}
    with pytest.raises(SystemExit, match="dtln"):
        run.train(["gtcrn", "dtln"], tmp_path, run.read_steps(file))


def test_commands_run_side_by_side_and_one_that_fails_stops_no_other(run, tmp_path):
    tasks = [
        run.Task(name, [sys.executable, "-c", f"print('{name}'); raise SystemExit({code})"], log)
        for name, code in (("a", 0), ("b", 3), ("c", 0))
        for log in [tmp_path / f"{name}.log"]
    ]
    assert dict(run.side_by_side(tasks, 2)) == {"a": 0, "b": 3, "c": 0}
    assert [task.log.read_text() for task in tasks] == ["a\n", "b\n", "c\n"]


def test_what_still_runs_at_the_end_is_stopped(run, tmp_path):
    wait = [sys.executable, "-c", "import time; time.sleep(60)"]
    tasks = [run.Task(name, wait, tmp_path / name) for name in ("a", "b")]
    assert dict(run.side_by_side(tasks, 1, until=0.0)) == {}
    ended = dict(run.side_by_side(tasks, 1, until=run.time.time() + 1))
    assert [*ended] == ["a"]
    assert ended["a"] != 0


def test_a_run_that_has_begun_is_continued(run, tmp_path):
    new = run.command("gtcrn", 7, tmp_path, "gpu", ["--data.seed", "1"])
    assert new[-2:] == ["--data.seed", "1"]
    assert "model/gtcrn" in new
    assert "--resume" not in new
    (tmp_path / "gtcrn").mkdir()
    (tmp_path / "gtcrn" / "config.yaml").write_text("{}")
    again = run.command("gtcrn", 7, tmp_path, "gpu", [])
    assert again[again.index("--resume") + 1] == str(tmp_path / "gtcrn")
    assert "-c" not in again
    assert again[again.index("--trainer.max_steps") + 1] == "7"


def test_what_is_in_the_table_is_neither_trained_nor_scored_again(run, tmp_path):
    steps = {
        name: {"steps": 3, "config_sha256": digest}
        for name, digest in (("gtcrn", "same"), ("dtln", "new"), ("nsnet2", "same"))
    }
    rows = {
        "gtcrn": {"si_sdr_gain": 1.0, "steps": 3, "config_sha256": "same"},
        "dtln": {"si_sdr_gain": 1.0, "steps": 3, "config_sha256": "old"},
        "nsnet2": {"si_sdr_gain": 1.0, "steps": 2, "config_sha256": "same"},
        "gone": {"si_sdr_gain": 1.0, "steps": 3, "config_sha256": "same"},
    }
    file = tmp_path / "figures.json"
    file.write_text(json.dumps({"learned": rows}))
    assert run.recorded(steps, file) == {"gtcrn": rows["gtcrn"]}
    assert run.recorded(steps, tmp_path / "none.json") == {}


@dataclass
class _Cost:
    causal: bool
    parameters: int
    macs_per_second: float


def test_the_table_is_sorted_by_gain_and_the_figure_names_everything(run, tmp_path):
    names, random = run.FAMILIES, np.random.default_rng(0)
    rows = {
        name: {"si_sdr_gain": gain, "pesq": 2.0, "estoi": 0.7, "steps": 100}
        for name, gain in zip(names, random.normal(3, 1, len(names)).round(2).tolist(), strict=True)
    }
    costs = {
        name: _Cost(number % 2 == 0, 1000 * (number + 1), 1e7 * (number + 1))
        for number, name in enumerate(names)
    }
    steps = {name: {"cpu_seconds_per_step": 6.0} for name in names}
    told = run.markdown(rows, steps, costs, {"si-sdr": 5.0, "estoi": 0.6, "pesq-wb": 1.5})
    lines = told.splitlines()
    assert "| noisy |" in lines[2]
    gains = [float(line.split("|")[-4]) for line in lines[3:]]
    assert gains == sorted(gains, reverse=True)
    assert len({line.count("|") for line in lines}) == 1
    text = f"before\n{run.MARKERS[0]}\nold\n{run.MARKERS[1]}\nafter\n"
    assert run.between(text, told) == text.replace("old", told)
    run.draw(rows, costs, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_a_name_is_put_where_nothing_is(run):
    frame = (0.0, 0.0, 500.0, 500.0)
    places = run.places((100.0, 100.0), 40.0, 12.0)
    assert run.crowded(places[0], [], frame) == 0
    assert run.crowded(places[0], [places[0]], frame) == pytest.approx(40 * 12)
    assert run.crowded((-40.0, 0.0, 0.0, 12.0), [], frame) == pytest.approx(3 * 40 * 12)
    assert all(run.crowded(place, [(98, 98, 102, 102)], frame) == 0 for place in places)


@pytest.mark.slow
def test_one_architecture_from_the_pilot_to_its_scores(run, tmp_path):
    """Steps, training, packing and scores of the smallest one, on a second of the bundled corpus at a time."""
    name, random = "r-ced-small", np.random.default_rng(0)
    for number in range(2):
        target = 0.1 * random.standard_normal(48_000) * np.sin(np.arange(48_000) / 3000) ** 2
        for kind, signal in (("target", target), ("noisy", target + 0.02 * random.random(48_000))):
            path = tmp_path / "set" / kind / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, signal, 16_000)
    words = ["--data.batch_size", "2", "--data.scene.segment", "1"]
    words += ["--data.validation_samples", "2"]
    for role in ("speech", "noise", "rir"):
        words += [f"--data.{role}", "[bundle]"]

    def told(*given, more=()):
        return subprocess.run(
            [sys.executable, RUN, *given, *(["--", *more] if more else [])],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    file = tmp_path / "steps.json"
    assert "steps" in told("pilot", name, "--steps", file, "--seconds", "0.1", more=words)
    row = json.loads(file.read_text())[name]
    assert row["cpu_seconds_per_step"] > 0
    assert row["calls_per_step"] > 10
    assert told("pilot", name, "--steps", file, more=words) == ""
    file.write_text(json.dumps({name: {**row, "steps": 3}}))
    assert "trained, exit 0" in told("train", name, "--steps", file, more=words)
    assert told("train", name, "--steps", file, more=words) == ""
    runs = tmp_path / run.STATE / "runs"
    assert "1 runs" in told("pack", runs, name, "--out", tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "box.tar.gz.0") as tar:
        tar.extractall(tmp_path / "home", filter="data")
    assert rased.load(tmp_path / "home" / name)(torch.zeros(16_000)).shape == (16_000,)
    testset = tmp_path / "set"
    told("score", name, "--steps", file, "--runs", tmp_path / "home", "--on", testset)
    steps = run.read_steps(file)
    learned = run.learned(tmp_path / run.STATE / "results", "set", steps)[name]
    assert {*learned} == {"si_sdr_gain", "pesq", "estoi", "steps", "config_sha256"}
    assert learned["steps"] == 3
    assert np.isfinite([learned["si_sdr_gain"], learned["pesq"], learned["estoi"]]).all()

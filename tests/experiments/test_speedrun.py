"""The speedrun: entries keep the rules, the clock counts all processes, the history tells what reached the target."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rased.config import load_configs
from tests.experiments.modules import loaded

ROOT = Path(__file__).parents[2]
RUN = ROOT / "experiments" / "speedrun" / "run.py"


@pytest.fixture(scope="module")
def run():
    with loaded(RUN, "speedrun") as module:
        yield module


ENTRIES = sorted(path.stem for path in (RUN.parent / "entries").glob("*.yaml"))


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_keeps_the_rules(run, entry, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    environment, words = run.command(entry, 3, tmp_path / "it")
    assert {*environment} <= {"OMP_NUM_THREADS"}
    files = [after for word, after in itertools.pairwise(words) if word == "-c"]
    assert files[-1] == str(run.RULES)
    merged = load_configs(files)
    rules = load_configs([str(run.RULES)])
    for key, value in rules["data"]["init_args"].items():
        assert merged["data"]["init_args"][key] == value
    assert merged["run"]["evaluate"] == []
    assert merged["trainer"]["max_steps"] > 0
    assert words[words.index("--seed_everything") + 1] == "3"
    assert run.changes()[entry]


def test_an_entry_starts_from_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ENTRIES", tmp_path)
    for line, told in (
        ("# rased train -c model/gru-mask --from nsnet2", "from nothing"),
        ("# rased train -c model/gru-mask --resume runs/mine", "from nothing"),
        ("# rased train -c model/gru-mask --data.speech [mine]", "files"),
        ("# rased train", "rased train"),
        ("# rased evaluate noisy", "rased train"),
    ):
        (tmp_path / "mine.yaml").write_text(f"{line}\n# x\n")
        with pytest.raises(SystemExit, match=told):
            run.command("mine", 1, tmp_path / "run")
    with pytest.raises(SystemExit, match="mine"):
        run.command("other", 1, tmp_path / "run")


def test_what_is_not_committed_is_not_recorded(run, tmp_path, monkeypatch):
    """A change in rased/ counts, although the script is two folders below the top."""
    here = tmp_path / "experiments" / "speedrun"
    (here / "entries").mkdir(parents=True)
    (tmp_path / "rased").mkdir()
    for name, value in (("HERE", here), ("ENTRIES", here / "entries"), ("RULES", here / "rules")):
        monkeypatch.setattr(run, name, value)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    run._git(
        "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"
    )

    def frozen():
        raise LookupError

    monkeypatch.setattr(run, "frozen", frozen)
    with pytest.raises(LookupError):
        run.train("mine", 1, "cpu", trial=False)
    (tmp_path / "rased" / "new.py").write_text("")
    with pytest.raises(SystemExit, match="commit"):
        run.train("mine", 1, "cpu", trial=False)


def test_the_clock_counts_the_processes_that_a_training_starts(run, tmp_path):
    """Two processes work for .5 s of the processor each; the wall clock cannot show less than a core would need."""
    work = "import time\nwhile time.process_time() < 0.5: pass"
    script = tmp_path / "both.py"
    child = f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {work!r}])\n"
    script.write_text(f"{child}{work}\nchild.wait()\n")
    seconds, cpu = run.timed([sys.executable, str(script)], {}, tmp_path / "log")
    assert 1.0 <= cpu < 3.0
    assert seconds >= 0.5
    with pytest.raises(SystemExit, match="log"):
        run.timed([sys.executable, "-c", "raise SystemExit(1)"], {}, tmp_path / "log")


def _row(run, entry, seed, seconds, si_sdr):
    scores = {**run.TARGET, "si-sdr": si_sdr}
    return run.Row(entry, "cpu", seed, "abc", "a processor", seconds, 2 * seconds, scores)


def test_a_record_needs_three_seeds_that_reach_the_target_together(run):
    goal = run.TARGET["si-sdr"]
    rows = [_row(run, "01-a", seed, 100.0, goal + (0.3, -0.2, 0.0)[seed - 1]) for seed in (1, 2, 3)]
    rows += [_row(run, "02-b", 1, 10.0, goal + 1)]
    rows += [_row(run, "03-c", seed, 20.0, goal - 0.01) for seed in (1, 2, 3)]
    rows += [_row(run, "04-d", seed, 90.0 + seed, goal) for seed in (1, 2, 3)]
    rows += [_row(run, "05-e", seed, 95.0, goal) for seed in (1, 2, 3)]
    rows += [dataclasses.replace(_row(run, "06-f", 1, 1.0, goal), track="gpu")]
    lines = run.markdown(rows, "cpu", {"01-a": "nothing"}).splitlines()[2:]
    states = [line.split("|")[-2].strip() for line in lines]
    assert states == ["record", "one seed", "below", "record", ""]
    assert "| nothing |" in lines[0]
    assert "**92**" in lines[3]
    assert "**" not in lines[4]


def test_the_rules_name_the_target(run):
    values = "{pesq-wb:.2f}, {estoi:.3f} and {si-sdr:.1f} dB".format_map(run.TARGET)
    assert values in (RUN.parent / "README.md").read_text()


def test_another_test_set_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "SET", tmp_path)
    (tmp_path / "testset.json").write_text(json.dumps({"list_sha256": "0" * 64}))
    with pytest.raises(SystemExit, match="not the set"):
        run.frozen()


@pytest.mark.slow
def test_an_entry_from_the_clock_to_its_scores(tmp_path):
    """Two steps of the baseline, in a folder of their own; the frozen set has the hash of the rules."""
    folder = tmp_path / "speedrun"
    (folder / "entries").mkdir(parents=True)
    for name in ("run.py", "rules.yaml"):
        (folder / name).write_bytes((RUN.parent / name).read_bytes())
    (folder / "entries" / "short.yaml").write_text(
        "# OMP_NUM_THREADS=1 rased train -c model/lstm-psm-small -c speedrun/entries/short.yaml\n# two steps\n"
        "data: {init_args: {batch_size: 2}}\ntrainer: {max_steps: 2}\n"
    )
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    told = subprocess.run(
        [sys.executable, "speedrun/run.py", "run", "short", "--trial"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    row = json.loads(told.splitlines()[-1])
    assert row["seconds"] > 0
    assert row["cpu_seconds"] > 0
    assert {*row["scores"]} == {"pesq-wb", "estoi", "si-sdr"}
    assert not (folder / "history.json").exists()

"""One training to a folder, a start that failed keeps no name, damage of one run hides no other."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml

from rased.cli import main as rased
from rased.cli.train import main, train
from rased.errors import RasedError
from rased.training.folder import hold, is_held, new
from rased.training.history import read_launches
from rased.training.metrics import read_metrics
from rased.training.runs import list_runs, read_run
from rased.training.tracking import MetricsCSV
from tests.training.test_best import config


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch; its configuration is beside it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert train(config(epochs=1), folder) == 0
    return folder


def test_of_starts_at_once_each_has_its_own_folder_or_is_refused(tmp_path: Path) -> None:
    def take(name: str | None) -> str:
        try:
            with new(tmp_path, name, "model") as folder:
                (folder / "config.yaml").touch()
                (folder / "launches.yaml").touch()
                time.sleep(0.2)
                return folder.name
        except RasedError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        free = list(pool.map(take, [None] * 8))
    assert sorted(free) == ["model", *(f"model-{number}" for number in range(2, 9))]
    with ThreadPoolExecutor(8) as pool:
        named = list(pool.map(take, ["same"] * 8))
    assert named.count("same") == 1
    assert all("being trained now" in one or "exists" in one for one in named if one != "same")


def test_a_run_that_is_training_is_not_resumed_and_is_the_only_one_called_running(
    run: Path,
) -> None:
    assert (read_run(run).state, is_held(run)) == ("kept", False)
    with hold(run):
        assert read_run(run).state == "running"
        with pytest.raises(RasedError, match=rf"being trained now \(process {os.getpid()} on"):
            main(["--resume", str(run)])
        with pytest.raises(RasedError, match="being trained now"):
            train(config(epochs=2), run)
    assert read_run(run).state == "kept"


def test_a_lock_ends_with_its_process_whatever_its_workers_do(tmp_path: Path) -> None:
    """Killed, with a child that lives on: nobody has to wait for the child."""
    code = (
        "import os, sys, time; from pathlib import Path; from rased.training.folder import hold\n"
        "with hold(Path(sys.argv[1])):\n"
        # The child speaks: before it runs, it has let go of nothing.
        "    if os.fork() == 0: print(os.getpid(), flush=True); time.sleep(60); os._exit(0)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert is_held(tmp_path / "run")
    process.kill()
    process.wait()
    try:
        with hold(tmp_path / "run"):
            pass
    finally:
        os.kill(child, 9)
        process.stdout.close()


def test_a_start_that_failed_keeps_no_name(tmp_path: Path) -> None:
    """Refused by the trainer, by the data, or before anything is built: the name is free again."""
    path = tmp_path / "config.yaml"
    runs = tmp_path / "runs"
    path.write_text(yaml.safe_dump(config(epochs=1)))
    words = ["-c", str(path), "--runs", str(runs), "--name", "mine", "--run.evaluate", "[]"]
    for bad in (
        ["--trainer.val_check_interval", "1000"],
        ["--model.enhancer.channels", "0"],
        ["--data.batches", "none"],
        ["--trainer.devices", "0"],
    ):
        with pytest.raises((RasedError, RuntimeError, ValueError)):
            main([*words, *bad])
        assert not (runs / "mine").exists(), bad
    assert main(words) == 0
    with pytest.raises(RasedError, match="exists already: continue it with --resume"):
        main(words)


@pytest.mark.parametrize("name", ["we ird", "Exp#3", "uml äö 日本", "../up", ".hidden", "a/b", ""])
def test_a_name_that_no_card_takes_is_refused_before_the_training(
    name: str, tmp_path: Path
) -> None:
    words = ["-c", "model/gru-mask", "-c", "data/bundle", "--runs", str(tmp_path / "runs")]
    with pytest.raises(RasedError, match=r"--name is .*letters, digits"):
        main([*words, "--name", name])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text + "\0" * 8,
        lambda text: text[:-5],
        lambda text: text + "3",
        lambda text: text + "3,nonsense,x\n",
        lambda text: text + "\0\0\0\n7",
        lambda text: text + "-3,1.0" + "," * 20 + "\n",
    ],
)
def test_a_torn_metrics_csv_loses_its_torn_rows_alone(
    run: Path, damage: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (run / "metrics.csv").read_text()
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (folder / "metrics.csv").write_text(damage(text))  # type: ignore[operator]
    whole, _ = read_metrics(run / "metrics.csv")
    rows, columns = read_metrics(folder / "metrics.csv")
    assert [row.text for row in rows] == [row.text for row in whole][: len(rows)]
    assert len(rows) >= len(whole) - 1
    assert "incomplete and ignored" in capsys.readouterr().err
    again = MetricsCSV(folder, steps=99)
    again.log_metrics({"train/loss": 1.0}, 99)
    assert read_metrics(folder / "metrics.csv")[0][-1].step == 99
    assert list_runs(tmp_path)[0].steps == 100
    assert columns[:2] == ["step", "time"]


@pytest.mark.parametrize("content", ["", "\0" * 100, "nonsense", "a,b\n1,2\n"])
def test_a_metrics_csv_of_nothing_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    assert read_metrics(tmp_path / "metrics.csv") == ([], ["step", "time"])


def test_one_damaged_run_hides_no_other(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "empty", "list", "cut", "odd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    (tmp_path / "empty" / "config.yaml").write_text("")
    (tmp_path / "list" / "config.yaml").write_text("[1, 2]")
    (tmp_path / "cut" / "config.yaml").write_text("model: {class_path: ")
    (tmp_path / "odd" / "config.yaml").write_text("model: 3")
    assert rased(["runs", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "good" in said.out
    for name in ("empty", "list", "cut", "odd"):
        assert f"{tmp_path / name}/config.yaml" in said.err


@pytest.mark.parametrize(
    "content", ["", "- {step: 0", "3", "[]", "- {step: 0}", "- nonsense", "{}"]
)
def test_a_damaged_list_of_launches_is_a_sentence_and_the_training_goes_on(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "launches.yaml"
    path.write_text(content)
    with pytest.raises(RasedError, match=r"launches\.yaml' is (damaged|not valid YAML)"):
        read_launches(tmp_path)


def test_a_resume_over_a_damaged_list_of_launches(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "launches.yaml").write_text("")
    assert main(["--resume", str(run), "--trainer.max_epochs", "2"]) == 0
    assert "training continues" in capsys.readouterr().err
    assert read_launches(run)[0].step == 3


def test_less_than_is_done_is_a_sentence(run: Path) -> None:
    steps = int(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"])
    for words, message in (
        (["--trainer.max_steps", "1"], rf"max_steps is 1, but '.*' has already done {steps}"),
        (["--run.stop_after", "1"], rf"stop_after is 1, but '.*' has already done {steps} steps"),
    ):
        with pytest.raises(RasedError, match=message):
            main(["--resume", str(run), *words])

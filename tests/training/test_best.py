"""best.ckpt is the best model of the run: a law over random lives of a run; and steps that are not finite."""

import csv
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rased.building import build
from rased.cli.train import main, train
from rased.errors import RasedError
from rased.losses.base import Loss
from rased.tensors import read_checkpoint
from rased.training.best import KeepBest, measure
from rased.training.skipping import MOST_SKIPPED
from rased.zoo.runs import load_run
from tests.training.synthetic import Killed, Tones

pytestmark = pytest.mark.usefixtures("unpublished")

LOSSES = [
    {"class_path": "rased.losses.waveform.SNR"},
    {"class_path": "rased.losses.waveform.L1"},
    {"class_path": "rased.losses.waveform.SISDR"},
]
HOOKS = [
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_batch_start",
    "on_validation_end",
    "on_train_epoch_end",
]


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def config(
    *, epochs: int, lr: float = 0.01, loss: dict[str, Any] = LOSSES[0], **callback: Any
) -> dict[str, Any]:
    callbacks = [
        {"class_path": f"tests.training.synthetic.{name}", "init_args": arguments}
        for name, arguments in callback.items()
    ]
    module = {
        "enhancer": {"class_path": "tests.training.synthetic.TinyWaveform"},
        "loss": loss,
        "lr": lr,
        "warmup_steps": 1,
        "ema_decay": 0.5,
    }
    return {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": epochs,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "callbacks": callbacks,
        },
        "model": {"class_path": "rased.training.waveform.WaveformEnhancement", "init_args": module},
        "data": {"class_path": "tests.training.synthetic.Tones", "init_args": {"batches": 3}},
        "run": {"examples": 0, "save_minutes": 0.0},
    }


def score(weights: Path, loss: dict[str, Any]) -> float:
    """The validation loss of a best.ckpt, computed apart from any trainer."""
    enhancer, criterion = load_run(weights.parent.parent, allow=("tests",)), build(Loss, loss)
    values = []
    with torch.no_grad():
        for batch in Tones().val_dataloader():
            values.append(
                float(criterion(estimate=enhancer(batch["noisy"]), target=batch["target"]))
            )
    return sum(values) / len(values)


def finite(path: Path) -> bool:
    return all(
        bool(value.isfinite().all()) for value in read_checkpoint(path)["state_dict"].values()
    )


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_best_is_never_worse_than_before_whatever_happens(seed: int, tmp_path: Path) -> None:
    """Kills, signals, moves, settings that ruin the weights, another loss, at random points of a run."""
    chance = random.Random(seed)
    folder, old = tmp_path / "run", tmp_path / "old" / "checkpoints" / "best.ckpt"
    old.parent.mkdir(parents=True)
    epochs, loss = 2, LOSSES[0]
    events = ["go on", "kill", "signal", "ruin", "blow up", "another loss", "move", "not finite"]
    for event in ["go on", *chance.sample(events, len(events))]:
        callback: dict[str, Any] = {}
        lr = {"ruin": 30.0, "blow up": 1e25}.get(event, 0.01)
        come = {"hook": chance.choice(HOOKS), "count": chance.randint(1, 4)}
        if event == "kill":
            callback = {"Kill": come}
        elif event == "signal":
            callback = {"Signal": come}
        elif event == "not finite":
            callback = {"NotFinite": {"steps": [chance.randint(1, 60) for _ in range(30)]}}
        elif event == "another loss":
            loss = chance.choice([one for one in LOSSES if one != loss])
        elif event == "move":
            folder = folder.rename(tmp_path / f"moved-{chance.random()}")
        try:
            train(config(epochs=epochs, lr=lr, loss=loss, **callback), folder)
        except (Killed, RasedError):
            pass
        epochs += chance.randint(1, 2)
        best = folder / "checkpoints" / "best.ckpt"
        assert finite(best), event
        if (folder / "checkpoints" / "last.ckpt").is_file():
            assert finite(folder / "checkpoints" / "last.ckpt"), event
        if old.is_file():
            assert score(best, loss) <= score(old, loss) + 1e-5, event
        shutil.copy(best, old)


@pytest.mark.parametrize("moved", [False, True])
def test_a_worse_model_after_a_resume_is_not_the_best(moved: bool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config(epochs=1), run) == 0
    if moved:
        run = run.rename(tmp_path / "elsewhere")
    before = (run / "checkpoints" / "best.ckpt").read_bytes()
    assert train(config(epochs=2, lr=300.0), run) == 0
    values = [float(row["valid/loss"]) for row in rows(run) if row["valid/loss"]]
    assert values[1] > values[0] + 0.1
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == before
    assert read_checkpoint(run / "checkpoints" / "best.ckpt")["scores"]["valid/loss"] == (
        pytest.approx(score(run / "checkpoints" / "best.ckpt", LOSSES[0]), abs=1e-4)
    )


def test_patience_counts_on_over_a_resume(tmp_path: Path) -> None:
    """What stops the run early is in last.ckpt of the same epoch."""
    settings = config(epochs=1, lr=0.0)
    settings["run"]["patience"] = 2
    run = tmp_path / "run"
    for epochs in (1, 2, 10):
        settings["trainer"]["max_epochs"] = epochs
        assert train(settings, run) == 0
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] == 3


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_step_that_is_not_finite_moves_nothing_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps 2 and 5 of 6, whatever the interval of the log; a run without them moves on from step 1 to 3 alike."""
    settings = config(epochs=2, NotFinite={"steps": [2, 5]})
    settings["trainer"]["log_every_n_steps"] = 1
    run = tmp_path / "run"
    assert train(settings, run) == 0
    logged = [float(row["train/skipped_steps"]) for row in rows(run) if row["train/skipped_steps"]]
    assert logged == [0, 1, 1, 1, 2, 2]
    assert finite(run / "checkpoints" / "best.ckpt")
    said = capsys.readouterr().err
    assert f"step 2 is skipped: its gradient is not finite; `rased replay {run} --step 2`" in said
    assert "step 5 is skipped" in said
    state = read_checkpoint(run / "checkpoints" / "last.ckpt")
    steps = {int(one["step"]) for one in state["optimizer_states"][0]["state"].values()}
    assert steps == {4}, "the optimiser has made four steps of six"


@pytest.mark.parametrize("interval", [1, 50])
def test_too_many_such_steps_stop_the_run_and_the_checkpoints_stay(
    interval: int, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(config(epochs=1), run) == 0
    settings = config(epochs=99, NotFinite={"steps": [*range(5, 400)]})
    settings["trainer"]["log_every_n_steps"] = interval
    with pytest.raises(
        RasedError, match=f"not finite in step {5 + MOST_SKIPPED}, .*--step {5 + MOST_SKIPPED}"
    ):
        train(settings, run)
    for name in ("last", "best"):
        assert finite(run / "checkpoints" / f"{name}.ckpt")
    assert train(config(epochs=10), run) == 0, "it goes on from there"


def test_running_statistics_are_those_of_finite_steps(tmp_path: Path) -> None:
    """A norm has seen the NaN before any gradient has."""
    settings = config(epochs=2, NotFinite={"steps": [1, 4]})
    settings["model"]["init_args"]["enhancer"] = {"class_path": "tests.training.synthetic.Normed"}
    run = tmp_path / "run"
    assert train(settings, run) == 0
    assert finite(run / "checkpoints" / "last.ckpt")


def test_a_monitor_that_is_not_finite_chooses_nothing(tmp_path: Path) -> None:
    keeper = KeepBest(tmp_path, "valid/loss", "min", {})
    assert not keeper.better(float("nan"))
    assert not keeper.better(float("-inf"))
    keeper.score = 1.0
    assert keeper.better(0.9)
    assert not keeper.better(1.0)
    keeper.mode = "max"
    assert keeper.better(1.1)


def test_a_monitor_that_there_is_not_is_named(tmp_path: Path) -> None:
    settings = config(epochs=1)
    settings["run"]["monitor"] = "valid/si_sd"
    with pytest.raises(RasedError, match=r"run\.monitor is valid/si_sd.*'valid/si_sdr'"):
        train(settings, tmp_path / "run")


def test_another_monitor_holds_the_best_against_its_own_value(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config(epochs=2), run) == 0
    before = read_checkpoint(run / "checkpoints" / "best.ckpt")["scores"]["valid/si_sdr"]
    settings = config(epochs=3, lr=100.0)
    settings["run"] |= {"monitor": "valid/si_sdr", "mode": "max"}
    assert train(settings, run) == 0
    after = read_checkpoint(run / "checkpoints" / "best.ckpt")["scores"]["valid/si_sdr"]
    assert after >= before


def test_the_measure_is_that_of_the_validation() -> None:
    plain = measure(config(epochs=1), None)
    assert measure(config(epochs=9, lr=5.0), None) == plain
    assert measure(config(epochs=1, loss=LOSSES[1]), None) != plain
    other = config(epochs=1)
    other["data"]["init_args"]["time"] = 3000
    assert measure(other, None) != plain


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config(epochs=1), run) == 0
    last = run / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    for content in (b"", whole[:1000], whole[:-100], b"no zip at all"):
        last.write_bytes(content)
        with pytest.raises(RasedError, match=r"last.ckpt.*'.*best.ckpt' is in the same folder"):
            main(["--resume", str(run)])
    last.write_bytes(whole)
    assert main(["--resume", str(run)]) == 0

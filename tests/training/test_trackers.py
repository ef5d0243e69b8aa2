"""Curves without an account: TensorBoard, Trackio, or metrics.csv alone."""

import sys

import pytest
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rased.cli import main
from rased.errors import RasedError
from rased.training.trackers import open_tracker


def test_csv_alone_opens_nothing(tmp_path):
    assert open_tracker("csv", tmp_path, {}, 0) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_other_ranks_log_nothing(tmp_path, monkeypatch, tracker):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert open_tracker(tracker, tmp_path, {}, 0) is None


def curves(folder):
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {
        name: [(one.step, round(one.value, 4)) for one in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def test_tensorboard_holds_each_step_once_also_after_a_resume(tmp_path):
    logger = open_tracker("tensorboard", tmp_path, {}, 0)
    for step in range(6):
        logger.log_metrics({"train/loss": 1 / (step + 1)}, step)
    logger.finalize("success")
    again = open_tracker("tensorboard", tmp_path, {}, 4)
    for step in (4, 5, 6):
        again.log_metrics({"train/loss": 10.0 + step}, step)
    again.finalize("success")
    wanted = [(0, 1.0), (1, 0.5), (2, 0.3333), (3, 0.25), (4, 14.0), (5, 15.0), (6, 16.0)]
    assert curves(tmp_path)["train/loss"] == wanted


class Module:
    """The names of Trackio that are used, with what they were given."""

    def __init__(self):
        self.said = []

    def init(self, **words):
        self.said.append(("init", words))

    def log(self, metrics, step):
        self.said.append(("log", metrics, step))

    def finish(self):
        self.said.append(("finish",))


def test_trackio_gets_every_value_and_writes_into_the_run(tmp_path, monkeypatch):
    module = Module()
    monkeypatch.setitem(sys.modules, "trackio", module)
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    with monkeypatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path / "elsewhere"))
        logger = open_tracker("trackio", tmp_path / "mine", {"seed": 1}, 0)
    logger.log_metrics({"valid/loss": 0.5}, 3)
    logger.finalize("success")
    start = {"project": "rased", "name": "mine", "config": {"seed": 1}, "resume": "allow"}
    assert module.said == [("init", start), ("log", {"valid/loss": 0.5}, 3), ("finish",)]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    with pytest.raises(RasedError, match="pip install trackio, or choose"):
        open_tracker("trackio", tmp_path, {}, 0)


SMALL = (
    *("-c", "model/gru-mask", "-c", "data/bundle", "-c", "trainer/cpu"),
    *("--model.enhancer.network.hidden", "8", "--model.enhancer.network.expansion", "8"),
    *("--data.batch_size", "2", "--data.validation_samples", "2", "--data.scene.segment", "1.0"),
    *("--trainer.max_steps", "2", "--trainer.log_every_n_steps", "1", "--run.examples", "1"),
    *("--run.evaluate", "[]", "--run.examples_every", "1"),
)


@pytest.mark.slow
def test_an_unknown_tracker_is_refused_with_those_that_are_known(tmp_path, capsys):
    assert main(["train", *SMALL, "--runs", str(tmp_path), "--run.tracker", "mlflow"]) == 2
    said = capsys.readouterr().err
    assert "mlflow" in said
    assert "tensorboard" in said


@pytest.mark.slow
def test_a_run_with_tensorboard_has_curves_and_sounds_and_no_wandb(tmp_path, monkeypatch):
    words = ["--runs", str(tmp_path), "--name", "mine", "--run.tracker", "tensorboard"]
    assert main(["train", *SMALL, *words]) == 0
    found = EventAccumulator(str(tmp_path / "mine" / "tensorboard"))
    found.Reload()
    assert "train/loss" in found.Tags()["scalars"]
    assert found.Tags()["audio"] == ["examples/0/estimate"]
    assert found.Tags()["images"] == ["examples/0/spectrograms"]
    assert not (tmp_path / "mine" / "wandb").exists()

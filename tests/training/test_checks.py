"""What Lightning, YAML or torch would refuse late or in many lines: one sentence with the key, before the training."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from rased.cli import main as rased
from rased.cli.train import main, train
from rased.errors import RasedError
from rased.training.tracking import wandb_logger
from tests.training.test_best import config

WORDS = ["-c", "model/gru-mask", "-c", "data/bundle", "-c", "trainer/cpu", "--run.evaluate", "[]"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.precision", "bf16-true"], r"^trainer\.precision is 'bf16-true'; allowed are"),
        (["--trainer.precision", "half"], r"^trainer\.precision is 'half'"),
        (["--trainer.accelerator", "gpu"], r"^trainer\.accelerator is gpu, .* write cpu or auto"),
        (["--trainer.enable_checkpointing", "false"], r"^trainer\.enable_checkpointing is false"),
        (["--trainer.logger", "false"], r"^trainer\.logger is false.*WANDB_MODE=disabled"),
        (["--trainer.barebones", "true"], r"^trainer\.barebones is true"),
        (["--trainer.default_root_dir", "x"], r"^trainer\.default_root_dir .* --runs DIR"),
        (["--trainer.log_every_n_steps", "0"], r"^trainer\.log_every_n_steps is 0; give 1"),
        (["--trainer.accumulate_grad_batches", "0"], r"^trainer\.accumulate_grad_batches is 0"),
        (["--trainer.max_epochs", "-1"], "no budget.*trainer.max_steps"),
        (["--trainer.max_epochs", "-5"], r"^trainer\.max_epochs is -5; give -1 or more"),
        (
            ["--trainer.max_epochs", "-1", "--trainer.max_time", "00:00:05:00"],
            "no budget.*only stops early",
        ),
        (["--model.lr=-1"], r"^model\.lr is -1"),
        (["--model.lr", "nan"], r"^model\.lr is .?nan"),
        (["--model.final_lr", "2"], r"^model\.final_lr is 2"),
        (["--model.ema_decay", "1.5"], r"^model\.ema_decay is 1\.5"),
        (["--model.warmup_steps=-3"], r"^model\.warmup_steps is -3"),
        (["--run.patience=-1"], r"^run\.patience is -1; give 0"),
        (["--run.examples_every", "0"], r"^run\.examples_every is 0; give 1"),
        (["--run.stop_after", "0"], r"^run\.stop_after is 0; give 1"),
        (["--data.speech", "[foo"], r"^--data\.speech .*is not valid YAML"),
        (["--model.lr", "["], r"^--model\.lr .*is not valid YAML"),
        (["--model.lr", "2001-02-30"], r"model\.lr (is )?'2001-02-30'"),
        (["--trainer.devices", "0"], "devices"),
        (["--trainer.strategy", "nonsense"], "strategy|nonsense"),
    ],
)
def test_one_sentence_with_the_key_and_nothing_is_left(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(RasedError, match=message) as refused:
        main([*WORDS, *words, "--runs", str(tmp_path)])
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "trainer",
    [
        {"fast_dev_run": True},
        {"limit_val_batches": 0},
        {"max_epochs": 0},
        {"limit_train_batches": 0},
        {"overfit_batches": 1},
        {"val_check_interval": 2},
        {"check_val_every_n_epoch": 2, "max_epochs": 2},
        {"detect_anomaly": True},
        {"profiler": "simple"},
        {"max_time": "00:00:00:00"},
    ],
    ids=lambda trainer: next(iter(trainer)),
)
def test_other_settings_of_the_trainer_work(
    trainer: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = config(epochs=1)
    settings["trainer"] |= trainer
    assert train(settings, tmp_path / "run") == 0
    said = capsys.readouterr().err
    validated = (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    assert validated != ("no validation has saved a best.ckpt" in said)


def test_a_logger_of_ones_own_is_used_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = config(epochs=1)
    own = {"save_dir": str(tmp_path / "own"), "name": "mine", "version": ""}
    settings["trainer"]["logger"] = {
        "class_path": "pytorch_lightning.loggers.CSVLogger",
        "init_args": own,
    }
    assert train(settings, tmp_path / "run") == 0
    theirs = (tmp_path / "own" / "mine" / "metrics.csv").read_text()
    assert "train/loss" in theirs
    assert "train/loss" in (tmp_path / "run" / "metrics.csv").read_text()


def test_without_a_network_weights_and_biases_is_offline_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key, and a port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    begun = time.monotonic()
    logger = wandb_logger(tmp_path / "run", {"a": 1})
    assert logger is not None
    logger.experiment.finish()
    assert time.monotonic() - begun < 60
    said = capsys.readouterr().err
    assert "Weights & Biases: 127.0.0.1 cannot be reached (Connection refused)" in said
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_a_data_folder_that_is_not_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = ["train", *WORDS, "--data.speech", "[p_sp]", "--runs", str(tmp_path)]
    assert rased(words) == 2
    assert "'p_sp'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

"""Signals are obeyed wherever the trainer is, also where it waits for a batch that does not come."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rased.cli.train import train
from rased.tensors import read_checkpoint
from rased.training import stopping
from tests.training.test_best import config


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def settings(split: str, stuck: int, number: int, **trainer: Any) -> dict[str, Any]:
    made = config(epochs=3)
    made["data"] = {
        "class_path": "tests.training.synthetic.Stuck",
        "init_args": {"split": split, "stuck": stuck, "number": int(number)},
    }
    made["trainer"] |= trainer
    made["run"]["save_minutes"] = 60.0
    return made


@pytest.mark.parametrize(
    ("number", "stuck"),
    [(signal.SIGTERM, 3), (signal.SIGINT, 4), (signal.SIGHUP, 1), (signal.SIGTERM, 8)],
)
def test_a_batch_that_never_comes_is_not_waited_for(
    number: int, stuck: int, tmp_path: Path
) -> None:
    """All that was done is saved, at once, also before the first batch of an epoch; the run goes on to the same end."""
    run = tmp_path / "run"
    begun = time.monotonic()
    assert train(settings("train", stuck, number), run) == 128 + number
    assert time.monotonic() - begun < 300
    content = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert content["global_step"] == stuck - 1
    assert train(settings("train", 0, number), run) == 0
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 9


@pytest.mark.parametrize(
    ("split", "trainer"), [("valid", {}), ("train", {"accumulate_grad_batches": 2})]
)
def test_a_wait_that_cannot_be_left_in_good_order_ends_after_a_grace(
    split: str, trainer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a validation, or with half of a gradient: the checkpoint before it stays."""
    monkeypatch.setattr(stopping, "GRACE_SECONDS", 0.3)
    run = tmp_path / "run"
    stuck = 3 if split == "valid" else 5  # in the second epoch
    assert train(settings(split, stuck, signal.SIGTERM, **trainer), run) == 128 + signal.SIGTERM
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] == 1


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals = stopping.Signals(lambda: True, lambda: 0)
        signals.listen()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signals._note
        signals.restore()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)

"""Signals are obeyed wherever the trainer is, also where it waits for a batch that does not come."""

import io
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

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


def test_a_signal_within_a_read_of_a_file_waits_for_the_end_of_it() -> None:
    """What is raised in a function that C code calls is lost, and the samples would be wrong."""
    seen: list[Any] = []

    class File(io.BytesIO):
        def _look(self) -> None:
            frame = sys._getframe(2)
            while frame is not None and frame.f_code.co_name[:4] != "vio_":
                frame = frame.f_back
            if frame is not None:
                seen.append(stopping.wait_of(sys._getframe(1)))

        def tell(self) -> int:
            self._look()
            return super().tell()

        def readinto(self, buffer: Any) -> int:
            self._look()
            return super().readinto(buffer)

    content = io.BytesIO()
    soundfile.write(content, np.zeros(1000, dtype="float32"), 16_000, format="WAV")
    space: dict[str, Any] = {"__name__": "pytorch_lightning.loops.fetchers"}
    exec("def __next__(do):\n    return do()", space)
    assert space["__next__"](lambda: stopping.wait_of(sys._getframe())) == "training"
    samples, _ = space["__next__"](lambda: soundfile.read(File(content.getvalue())))
    assert len(samples) == 1000
    assert seen
    assert not any(seen)

"""An interrupted and resumed run is the uninterrupted one, to the last digit."""

import csv
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from rased.cli.train import train

BATCHES = 5
MODEL = {
    "class_path": "rased.training.mask.MaskEnhancement",
    "init_args": {
        "enhancer": {"class_path": "tests.training.synthetic.TinyMask"},
        "warmup_steps": 2,
        "ema_decay": 0.9,
    },
}
DATA = {
    "class_path": "rased.data.datamodule.MixtureDataModule",
    "init_args": {
        "scene": {"segment": 0.25},
        "batch_size": 2,
        "samples_per_epoch": 2 * BATCHES,
        "validation_samples": 4,
    },
}


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def config(*callbacks: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    plain = {
        "accelerator": "cpu",
        "log_every_n_steps": 1,
        "gradient_clip_val": 1.0,
        "num_sanity_val_steps": 1,
        "callbacks": list(callbacks),
        **trainer,
    }
    return {"trainer": plain, "model": MODEL, "data": DATA, "run": {"examples": 0}}


def curve(folder: Path) -> dict[str, dict[int, str]]:
    """Every logged number by name and step, as text; a number logged twice fails."""
    numbers: dict[str, dict[int, str]] = {}
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and not name.startswith(("speed/", "time", "step")) and name != "epoch":
                    steps = numbers.setdefault(name, {})
                    assert int(row["step"]) not in steps, f"{name} twice at step {row['step']}"
                    steps[int(row["step"])] = value
    return numbers


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


BUDGETS = {
    "epochs": {"max_epochs": 3},
    "steps": {"max_epochs": -1, "max_steps": 13},
    "validation_within_epoch": {"max_epochs": 3, "val_check_interval": 2},
    "accumulation": {"max_epochs": 3, "accumulate_grad_batches": 2},
}


@pytest.fixture(scope="module", params=BUDGETS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[dict[str, Any], Path]:
    """A budget and the folder of an uninterrupted run with it."""
    os.environ["WANDB_MODE"] = "disabled"
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train(config(**BUDGETS[request.param]), folder) == 0
    return BUDGETS[request.param], folder


@pytest.mark.parametrize(
    ("hook", "count"),
    [
        ("on_train_batch_start", 1),
        ("on_train_batch_start", 2),
        ("on_train_batch_start", 5),
        ("on_train_batch_start", 8),
        ("on_train_batch_end", 5),
        ("on_validation_batch_start", 3),
        ("on_train_epoch_end", 2),
    ],
)
def test_resumed_equals_uninterrupted(
    whole: tuple[dict[str, Any], Path], tmp_path: Path, hook: str, count: int
) -> None:
    budget, expected = whole
    run = tmp_path / "run"
    stop = {
        "class_path": "tests.training.synthetic.Signal",
        "init_args": {"hook": hook, "count": count},
    }
    assert train(config(stop, **budget), run) == 128 + signal.SIGTERM
    assert train(config(**budget), run) == 0
    assert curve(run) == curve(expected)
    for name in ("last", "best"):
        for key, value in weights(expected, name).items():
            assert torch.equal(value, weights(run, name)[key]), (name, key)

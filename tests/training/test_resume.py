"""An interrupted and resumed run is the uninterrupted one, to the last digit."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rased.cli.train import train
from rased.evaluation.result import load
from rased.training.optimisation import Budget
from rased.training.schedules import Cosine, warm_up

pytestmark = pytest.mark.usefixtures("unpublished")

ROOT = Path(__file__).parents[2]
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
    """Every logged number by name and step, as text, but for speed and caches; a number logged twice fails."""
    numbers: dict[str, dict[int, str]] = {}
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                of_the_launch = name.startswith(("speed/", "time", "step")) or name.endswith("_mb")
                if value and not of_the_launch and name != "epoch":
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


FAST = ("epochs", "steps")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in BUDGETS],
)
def whole(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[dict[str, Any], Path]:
    """A budget and the folder of an uninterrupted run with it."""
    os.environ["WANDB_MODE"] = "disabled"
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert train(config(**BUDGETS[request.param]), folder) == 0
    return BUDGETS[request.param], folder


POINTS = [
    ("on_train_batch_start", 2),
    ("on_train_batch_end", 5),
    pytest.param("on_train_batch_start", 1, marks=pytest.mark.slow),
    pytest.param("on_train_batch_start", 5, marks=pytest.mark.slow),
    pytest.param("on_train_batch_start", 8, marks=pytest.mark.slow),
    pytest.param("on_validation_batch_start", 3, marks=pytest.mark.slow),
    pytest.param("on_train_epoch_end", 2, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("hook", "count"), POINTS)
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


def seen(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def resized(file: Path, batch_size: int, stop: int | None, **trainer: Any) -> dict[str, Any]:
    """A configuration for 10 samples an epoch, 2 epochs, that is stopped behind so many batches."""
    callbacks = [{"class_path": "tests.training.synthetic.Seen", "init_args": {"file": str(file)}}]
    if stop is not None:
        arguments = {"hook": "on_train_batch_end", "count": stop}
        callbacks.append({"class_path": "tests.training.synthetic.Signal", "init_args": arguments})
    settings = config(*callbacks, max_epochs=2, **trainer)
    settings["data"] = {**DATA, "init_args": {**DATA["init_args"], "batch_size": batch_size}}
    return settings


@pytest.mark.parametrize(
    ("first", "stop", "second", "trainer"),
    [(2, 3, 1, {}), (1, 7, 5, {}), (1, 4, 3, {"accumulate_grad_batches": 2})],
    ids=["smaller", "larger", "accumulated"],
)
def test_another_batch_size_goes_on_with_the_same_samples(
    tmp_path: Path, first: int, stop: int, second: int, trainer: dict[str, Any]
) -> None:
    """The rest of the epoch, its validation, and the whole of the next one."""
    run, file = tmp_path / "run", tmp_path / "seen"
    assert train(resized(file, first, stop, **trainer), run) == 128 + signal.SIGTERM
    assert train(resized(file, second, None, **trainer), run) == 0
    for epoch in range(2):
        samples = [i for row in seen(file) if row["epoch"] == epoch for i in row["index"]]
        assert samples == list(range(2 * BATCHES))
    assert len(curve(run)["valid/loss"]) == 2
    steps = 2 * math.ceil(-(-2 * BATCHES // second) / trainer.get("accumulate_grad_batches", 1))
    rates = [float(rate) for rate in curve(run)["train/lr"].values()]
    now = Budget(steps - 1, steps)
    last = warm_up(now, 2) * Cosine(0.02).share(now)
    assert rates[-1] == pytest.approx(1e-3 * last)


@pytest.mark.slow
def test_two_processes_train_together_and_stop_together(tmp_path: Path) -> None:
    """DDP on two processes: one SIGTERM to the first stops both, and the run continues to its end."""
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            config(strategy="ddp", devices=2, max_epochs=200, use_distributed_sampler=False)
        )
    )
    folder = tmp_path / "pair"
    words = [sys.executable, "-m", "rased", "train", "--runs", str(tmp_path)]
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*words, "-c", str(path), "--name", "pair"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "metrics.csv").is_file() and len(curve(folder).get("train/loss", {})) > 5:
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert said.count("continue with") == 1
    done = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    more = ["--trainer.max_epochs", "-1", "--trainer.max_steps", str(done + 3)]
    subprocess.run(
        [*words, "--resume", "pair", *more], cwd=ROOT, env=environment, check=True, timeout=600
    )
    assert sorted(curve(folder)["train/loss"]) == list(range(done + 3))
    assert len(load(folder / "results" / "pair--bundle.json").utterances) == 154

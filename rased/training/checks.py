"""Check a trainer's configuration before anything is built; errors are one sentence that names the key."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rased import yaml_reader
from rased.config import load_yaml
from rased.errors import RasedError, shown
from rased.tensors import read_checkpoint
from rased.training.folder import CONFIG
from rased.training.runs import flat

_PRECISIONS = (None, 16, 32, "16", "32", "16-mixed", "bf16", "bf16-mixed", "32-true")
_DIVIDING = ("fsdp", "deepspeed", "model_parallel", "modelparallel")
"""Parts of the names of Lightning's own strategies that divide weights as the moving average cannot."""
_LEAST = {
    # -1: no limit; for the sanity check: all batches.
    "max_epochs": -1,
    "max_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "log_every_n_steps": 1,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": -1,
    "num_nodes": 1,
    "gradient_clip_val": 0,
    "overfit_batches": 0,
    "limit_train_batches": 0,
    "limit_val_batches": 0,
    "reload_dataloaders_every_n_epochs": 0,
}
_SIZES = ("trainer.devices", "trainer.num_nodes")
_OURS = {
    "enable_checkpointing": (
        False,
        "a run always keeps its last and its best checkpoint: remove this key",
    ),
    "logger": (
        False,
        "metrics.csv is always written: remove this key (WANDB_MODE=disabled turns Weights & Biases off)",
    ),
    "barebones": (True, "a run writes logs and checkpoints: remove this key"),
}


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Check values that Lightning would reject late, or with an error that does not name the key.

    Raises:
        RasedError: a value is not allowed; the message names the key and what is allowed.
    """
    for key, (refused, sentence) in _OURS.items():
        if trainer.get(key) is refused:
            raise RasedError(f"trainer.{key} is {str(refused).lower()}: {sentence}.")
    if trainer.get("default_root_dir") is not None:
        raise RasedError(
            "trainer.default_root_dir is always the folder of the run: remove it, and use --runs DIR and --name NAME."
        )
    for key, least in _LEAST.items():
        value = trainer.get(key)
        # "not >=" refuses NaN, too.
        if isinstance(value, int | float) and not (value >= least and math.isfinite(value)):
            raise RasedError(f"trainer.{key} is {shown(value)}; give {least} or more.")
    precision = trainer.get("precision")
    if precision not in _PRECISIONS:
        allowed = ", ".join(str(word) for word in _PRECISIONS if isinstance(word, str))
        raise RasedError(
            f"trainer.precision is {shown(precision)}; allowed are {allowed} (weights and spectra stay in float32)."
        )
    _check_accelerator(trainer.get("accelerator"))
    strategy = trainer.get("strategy")
    name = strategy.get("class_path", "") if isinstance(strategy, Mapping) else strategy
    if any(word in str(name).lower() for word in _DIVIDING):
        raise RasedError(
            f"trainer.strategy is {shown(name)}, which the moving average cannot follow: write -c trainer/fsdp to "
            "divide the weights among GPUs, or -c trainer/ddp to copy them."
        )
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps")
    if epochs in (None, -1) and steps in (None, -1) and not trainer.get("fast_dev_run"):
        raise RasedError(
            "the training has no budget of steps, which the learning rate schedule needs: set trainer.max_steps or "
            "trainer.max_epochs (trainer.max_time only stops early)."
        )


def check_progress(last: Path, trainer: Mapping[str, Any], stop_after: int | None) -> int:
    """Return the number of steps that a run has done; 0 if it has not started.

    Raises:
        RasedError: it has done more than the budget, or its last checkpoint cannot be read.
    """
    if not last.is_file():
        return 0
    content = read_checkpoint(last)
    steps, epochs = int(content["global_step"]), int(content["epoch"])
    run = last.parent.parent
    for key, done in (("max_steps", steps), ("max_epochs", epochs)):
        allowed = trainer.get(key)
        # -1 means no limit.
        if isinstance(allowed, int) and 0 <= allowed < done:
            raise RasedError(
                f"trainer.{key} is {allowed}, but '{run}' has already done {done}: give {done} or more."
            )
    if stop_after is not None and stop_after <= steps:
        raise RasedError(
            f"run.stop_after is {stop_after}, but '{run}' has already done {steps} steps: give more, or remove it."
        )
    return steps


def check_same(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that a run that exists has this configuration; the number of processes may differ.

    Raises:
        RasedError: it has another one; the message names the settings that differ.
    """
    if not (folder / CONFIG).is_file():
        return
    written = yaml_reader.dump(dict(config)).encode()  # as it is read: lists for tuples, and so on
    pair = [load_yaml(folder / CONFIG, own=False), yaml_reader.parse(written, of=CONFIG)]
    before, now = (dict(flat(one)) for one in pair)
    changed = sorted(
        name
        for name in before.keys() | now.keys()
        if before.get(name) != now.get(name) and name not in _SIZES
    )
    if changed:
        raise RasedError(
            f"the run '{folder}' exists already, with other settings ({', '.join(changed[:5])}): repeat its command to "
            f"continue it, write --resume {folder} to change them, or choose another --name."
        )


def _check_accelerator(accelerator: Any) -> None:
    here = {
        "gpu": torch.cuda.is_available() or torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if here.get(accelerator) is False:
        raise RasedError(
            f"trainer.accelerator is {accelerator}, but torch finds none on this machine: write cpu or auto."
        )

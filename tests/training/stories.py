"""What every way of training must pass: stop, continue, replay, and its checkpoint builds it again."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from pytorch_lightning.core.mixins.hparams_mixin import _given_hyperparameters_context

from rased.building import build
from rased.cli.replay import replay
from rased.cli.train import train
from rased.tensors import read_checkpoint
from rased.training.base import Enhancement
from rased.training.checkpoint import build_module, load_module
from rased.training.resume import LAST, KeepLast
from rased.training.stopping import Interrupted
from tests.training.test_by_hand import QUICK
from tests.training.test_resume import curve, weights

STEPS = 5


def config(
    story: str, arguments: dict[str, Any], *callbacks: tuple[str, dict[str, Any]], **data: Any
) -> dict[str, Any]:
    """Three batches an epoch; the budget ends in the second epoch."""
    hooks = [
        {"class_path": f"tests.training.synthetic.{name}", "init_args": given}
        for name, given in callbacks
    ]
    given = {
        "enhancer": {"class_path": "tests.training.synthetic.TinyMask"},
        "warmup_steps": 1,
        "ema_decay": 0.9,
        **arguments,
    }
    return {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": -1,
            "max_steps": STEPS,
            "log_every_n_steps": 1,
            "gradient_clip_val": 0.5,
            "num_sanity_val_steps": 0,
            "callbacks": hooks,
        },
        "model": {"class_path": f"rased.training.{story}", "init_args": given},
        "data": {
            "class_path": "rased.data.datamodule.MixtureDataModule",
            "init_args": {
                "scene": {"segment": 0.3},
                "batch_size": 2,
                "samples_per_epoch": 6,
                "validation_samples": 2,
                **data,
            },
        },
        "run": {"examples": 0, "evaluate": []},
    }


def assert_continues(
    story: str, arguments: dict[str, Any], tmp_path: Path, **data: Any
) -> Enhancement:
    """Stop after two steps and continue; the weights of all players must be those of an uninterrupted training."""
    settings = config(story, arguments, **data)
    path = tmp_path / LAST

    def fitted(*callbacks: pl.Callback, start: Path | None = None) -> Enhancement:
        torch.manual_seed(0)
        module = build_module(settings["model"])
        options = {
            **QUICK,
            "max_epochs": -1,
            "max_steps": STEPS,
            "gradient_clip_val": 0.5,
            "enable_checkpointing": bool(callbacks),
            "limit_val_batches": 0,
            "default_root_dir": tmp_path,
        }
        trainer = pl.Trainer(**options, callbacks=[*callbacks])
        given = {"_class_path": settings["data"]["class_path"], **settings["data"]["init_args"]}
        with _given_hyperparameters_context(given, "pytorch_lightning.cli.instantiate_module"):
            source = build(pl.LightningDataModule, settings["data"])
        with contextlib.suppress(Interrupted):
            trainer.fit(module, datamodule=source, ckpt_path=start)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        return module

    whole = fitted()
    fitted(KeepLast(tmp_path, stop_after=2))
    assert read_checkpoint(path)["global_step"] == 2
    continued = fitted(start=path)
    ours, theirs = continued.state_dict(), whole.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(
        not torch.equal(value, read_checkpoint(path)["state_dict"][key])
        for key, value in ours.items()
    )
    module = load_module(tmp_path / "end.ckpt", allow=["tests", "rased"])
    assert f"{type(module).__module__}.{type(module).__name__}" == f"rased.training.{story}"
    return whole


def assert_continues_and_replays(
    story: str, arguments: dict[str, Any], tmp_path: Path, **data: Any
) -> None:
    """Stop a run after two steps and continue it; compare with a run that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        whole, run = tmp_path / "whole", tmp_path / "run"
        heard = ("Heard", {"folder": str(tmp_path / "heard")})
        assert train(config(story, arguments, heard, **data), whole) == 0
        stop = ("Signal", {"hook": "on_train_batch_end", "count": 2})
        assert train(config(story, arguments, stop, **data), run) == 143
        assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 2
        assert train(config(story, arguments, **data), run) == 0
    assert curve(run) == curve(whole)
    ours, theirs = weights(run, "last"), weights(whole, "last")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for step in (1, STEPS):
        replayed = replay(whole, step, tmp_path / str(step))
        (path,) = (tmp_path / "heard").glob(f"{step:03d}-*.pt")
        mixture = torch.load(path, weights_only=True)
        for row, sample in enumerate(replayed["samples"]):
            wav = tmp_path / str(step) / f"{sample['index']:06d}-noisy.wav"
            noisy, _ = soundfile.read(wav, dtype="float32")
            np.testing.assert_array_equal(noisy, mixture["noisy"][row].numpy())
    module = load_module(whole / "checkpoints" / "last.ckpt", allow=["tests", "rased"])
    assert f"{type(module).__module__}.{type(module).__name__}" == f"rased.training.{story}"

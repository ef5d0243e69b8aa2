"""What `rased` uses of Lightning beyond its documented interface is there, and does what it is used for."""

import ast
import inspect
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.core.mixins import hparams_mixin
from pytorch_lightning.loops import evaluation_loop, fetchers, training_epoch_loop
from pytorch_lightning.loops.optimization import automatic
from pytorch_lightning.overrides import distributed
from pytorch_lightning.trainer import call
from torch.nn.modules import batchnorm

ROOT = Path(__file__).parents[2]

SENTENCE = (
    "pytorch-lightning {version} has no {name}, on which {what} rests: look what took its place, or bound "
    "pytorch-lightning in pyproject.toml."
)
USED = [
    (
        training_epoch_loop._TrainingEpochLoop,
        "_should_accumulate",
        "last.ckpt (rased/training/resume.py)",
    ),
    (
        training_epoch_loop._TrainingEpochLoop,
        "_num_ready_batches_reached",
        "last.ckpt (rased/training/resume.py)",
    ),
    (
        training_epoch_loop._TrainingEpochLoop,
        "_should_check_val_fx",
        "last.ckpt (rased/training/resume.py)",
    ),
    (hparams_mixin, "_given_hyperparameters_context", "build_module (rased/training/base.py)"),
    (fetchers._DataFetcher, "__next__", "obeying signals (rased/training/stopping.py)"),
    (evaluation_loop._EvaluationLoop, "run", "obeying signals (rased/training/stopping.py)"),
    (pl.Trainer, "num_val_batches", "best.ckpt (rased/training/best.py)"),
    (pl.Trainer, "val_dataloaders", "best.ckpt (rased/training/best.py)"),
    (
        pl.Trainer,
        "enable_validation",
        "refusing a Plateau without validation (rased/training/base.py)",
    ),
    (pl.strategies.Strategy, "optimizer_step", "the turns of players (rased/training/base.py)"),
    (
        pl.plugins.precision.Precision,
        "_after_closure",
        "looking at the gradient of each player before it is clipped (rased/training/base.py)",
    ),
    (distributed, "_sync_module_states", "divided weights (rased/training/sharded.py)"),
    (torch, "_foreach_norm", "the length of a gradient (rased/training/skipping.py)"),
    (torch, "_foreach_lerp_", "the average weights (rased/training/optimisation.py)"),
    (batchnorm, "_NormBase", "--freeze (rased/training/origin.py)"),
]
IN_SOURCE = [
    (
        training_epoch_loop._TrainingEpochLoop.__init__,
        "_batches_that_stepped",
        "the steps of metrics.csv (rased/training/resume.py)",
    ),
    (
        training_epoch_loop._TrainingEpochLoop.__init__,
        "batch_progress",
        "the position in the data (rased/data/datamodule.py)",
    ),
    (pl.loops.fit_loop._FitLoop.__init__, "_data_fetcher", "last.ckpt (rased/training/resume.py)"),
]


def test_the_private_names_that_are_used_are_there() -> None:
    for where, name, what in USED:
        assert hasattr(where, name), SENTENCE.format(version=pl.__version__, name=name, what=what)
    for function, name, what in IN_SOURCE:
        sentence = SENTENCE.format(version=pl.__version__, name=name, what=what)
        assert f"self.{name}" in inspect.getsource(function), sentence


def private_names() -> dict[str, str]:
    """Names with one underscore that the source takes from others, and where."""
    own: set[str] = set()
    used: dict[str, str] = {}
    for path in sorted((ROOT / "rased").rglob("*.py")):
        training = path.is_relative_to(ROOT / "rased" / "training")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif isinstance(node, ast.Attribute) and node.attr[:1] == "_" != node.attr[1:2]:
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os"):
                    own.add(node.attr)
                elif training or path.name == "datamodule.py":
                    used[node.attr] = place
            elif isinstance(node, ast.ImportFrom) and training:
                module = node.module or ""
                if not module.startswith("rased"):
                    names = (alias.name for alias in node.names)
                    used |= {
                        name: f"{path.relative_to(ROOT)}:{node.lineno}"
                        for name in names
                        if name[0] == "_"
                    }
    return {name: place for name, place in used.items() if name not in own}


def test_every_private_name_that_the_source_takes_is_held_here() -> None:
    held = {name for _, name, _ in [*USED, *IN_SOURCE]}
    loose = {name: place for name, place in private_names().items() if name not in held}
    assert not loose, f"private names of Lightning or torch, held by no test: {loose}"


def test_the_automatic_loop_steps_once_a_batch_and_asks_the_module() -> None:
    """Steps are batches because Lightning counts one call of `optimizer_step`, whatever happens in it."""
    source = inspect.getsource(automatic._AutomaticOptimization._optimizer_step)
    assert source.count("step.increment_completed()") == 1
    assert '"optimizer_step"' in source
    assert "model" in inspect.signature(pl.strategies.Strategy.optimizer_step).parameters


def test_checkpoints_come_after_other_callbacks_at_the_end_of_an_epoch() -> None:
    """last.ckpt holds what the others remember of the epoch."""
    source = inspect.getsource(call._call_callback_hooks)
    assert "isinstance(cb, (EarlyStopping, Checkpoint))" in source
    trainer = pl.Trainer(
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[type("First", (Checkpoint,), {})(), pl.callbacks.Timer()],
    )
    assert isinstance(trainer.callbacks[-1], Checkpoint)

"""What `rased` uses of Lightning beyond its documented interface is there, and does what it is used for."""

import inspect

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.core.mixins import hparams_mixin
from pytorch_lightning.loops import evaluation_loop, fetchers, training_epoch_loop
from pytorch_lightning.trainer import call

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

"""Build a trainer from a merged config: LightningCLI builds the parts, and a run folder stores the results."""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentError
from lightning_fabric.plugins.environments import ClusterEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping, Timer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.table import Table

from rased import yaml_reader
from rased.building import check_arguments, verify
from rased.classes import OWN
from rased.config import public
from rased.disk import on_disk, write_text
from rased.errors import RasedError, nearest, shown
from rased.models.base import Enhancer
from rased.terminal import open_console
from rased.training.base import Enhancement
from rased.training.best import KeepBest
from rased.training.callbacks import (
    BadSamples,
    Caches,
    Examples,
    Lines,
    LoaderClock,
    Throughput,
    progress_bar,
)
from rased.training.checks import check_progress, check_same, check_trainer
from rased.training.cluster import cluster
from rased.training.complaints import as_rased_error
from rased.training.folder import CONFIG
from rased.training.history import History
from rased.training.optimisation import budget
from rased.training.origin import FOLDER, Origin, freeze, start
from rased.training.players import Team
from rased.training.resume import KeepLast, WholeCheckpoints
from rased.training.stopping import handlers_kept
from rased.training.trackers import Tracker, open_tracker
from rased.training.tracking import MetricsCSV

if TYPE_CHECKING:
    from wandb import Run

PARTS = ("seed_everything", "trainer", "model", "data", "run")


@dataclass(frozen=True)
class RunOptions:
    """What a run saves, and when it stops early.

    Attributes:
        monitor: validation metric that chooses best.ckpt.
        mode: "min" if smaller values are better, "max" if larger.
        patience: validations without improvement after which the run stops; None: never.
        save_minutes: minutes between two saves of last.ckpt within an epoch.
        examples_every: epochs between two sets of audio and spectrogram examples.
        examples: items in a set.
        evaluate: test sets for the best checkpoint at the end: folders, or `bundle`.
        metrics: names of metrics for it, and of lists in configs/eval; FILE.py:CLASS for your own metric.
        start_from: checkpoint whose weights the run starts from: name in the zoo, or folder of a run (`--from`).
        tracker: where the curves go besides metrics.csv: "wandb" (offline without an account), "tensorboard",
            "trackio", or "csv" for nowhere else.
        stop_after: steps after which this launch stops and saves, as after a signal; the schedule follows the budget.
        freeze: patterns of parameter names of the enhancer that are kept fixed (`--freeze`).
        change: settings of the checkpoint's architecture that are changed on purpose, such as `stft` (`--change`).
        into: the parts of the enhancer that get the weights of `start_from`, such as `first`; none: all of it
            (`--into`).
    """

    monitor: str = "valid/loss"
    mode: Literal["min", "max"] = "min"
    patience: int | None = None
    save_minutes: float = 10.0
    examples_every: int = 10
    examples: int = 3
    evaluate: Sequence[str] = ()
    metrics: Sequence[str] = ("quick",)
    start_from: str | None = None
    freeze: Sequence[str] = ()
    change: Sequence[str] = ()
    into: Sequence[str] = ()
    stop_after: int | None = None
    tracker: Tracker = "wandb"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RasedError: a number is out of its range.
        """
        for name, least in {
            "patience": 0,
            "save_minutes": 0,
            "examples_every": 1,
            "examples": 0,
            "stop_after": 1,
        }.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise RasedError(f"run.{name} is {value}; give {least} or more.")


def check_config(config: dict[str, Any]) -> None:
    """Check every class and key of a merged config.

    Raises:
        RasedError: an unknown name; the message suggests the nearest one.
    """
    for key in config:
        if key not in PARTS:
            raise RasedError(
                f"the configuration has an unknown section {shown(key)}; {nearest(str(key), PARTS)}"
            )
    for part, example in (("model", "model/gru-mask"), ("data", "data/bundle")):
        if not config.get(part):
            raise RasedError(
                f"the configuration has no section '{part}': add one, such as -c {example}."
            )
        kind = Enhancement if part == "model" else pl.LightningDataModule
        verify(kind, config[part], classes=OWN, where=part)
    optimizer = (config["model"].get("init_args") or {}).get("optimizer")
    if optimizer is not None:  # it stays configuration until the players are built
        verify(torch.optim.Optimizer, optimizer, classes=OWN, where="model.optimizer")
    check_arguments(pl.Trainer, config.get("trainer") or {}, where="trainer")
    check_trainer(config.get("trainer") or {})
    check_arguments(RunOptions, config.get("run") or {}, where="run")


class RunCLI(LightningCLI):
    """One run: built from a merged config, trained in a folder.

    Args:
        config: the sections `PARTS`.
        folder: runs/NAME; if it contains checkpoints/last.ckpt, the run continues from it.
        check: called with the options and the enhancer before anything is written.
        origin: checkpoint that a new run starts from; None for random weights.
        again: the launcher may have repeated the command, so the run may exist, with this configuration.

    Raises:
        RasedError: the config does not describe a run.
    """

    def __init__(
        self,
        config: dict[str, Any],
        folder: Path,
        check: Callable[[RunOptions, Enhancer], None],
        origin: Origin | None = None,
        *,
        again: bool = False,
    ) -> None:
        check_config(config)
        self.folder, self.check, self.origin, self.again = folder, check, origin, again
        self.last = folder / "checkpoints" / "last.ckpt"
        try:
            super().__init__(
                Enhancement,
                pl.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                # Errors are raised, not printed with a usage text.
                parser_kwargs={"exit_on_error": False},
                args=config,
                # No subcommands: the caller runs `fit`.
                run=False,
                # Otherwise LightningCLI replaces `configure_optimizers`.
                auto_configure_optimizers=False,
            )
        except (ArgumentError, ValueError) as error:
            raise as_rased_error(error) from error
        except MisconfigurationException as error:
            raise refused_by_lightning(error) from error
        if origin is not None:
            start(self.model, origin, self.options.change, into=self.options.into)
        freeze(self.model, self.options.freeze)
        Team(self.model.players()).build()  # raises if a player cannot be trained

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the section `run`."""
        parser.add_class_arguments(RunOptions, "run")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the config alone; the command line has been merged into it."""
        # A copy, because the parser replaces mappings of specs in place.
        self.config = parser.parse_object(copy.deepcopy(args))

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the trainer, with the loggers and callbacks of every run."""
        # Private: fills `config_dump`, unless building the model has done so.
        self._dump_config()
        self.config_dump = public(self.config_dump)
        trainer = self.config_init.trainer
        terminal = sys.stderr.isatty() and trainer.enable_progress_bar is not False
        self.options: RunOptions = self.config_init.run
        # Before anything is written.
        self.check(self.options, self.model.enhancer)
        if self.again:
            check_same(self.folder, self.config_dump)
        self.steps = steps = check_progress(
            self.last, self.config_dump.get("trainer") or {}, self.options.stop_after
        )
        loggers: list[Any] = [
            MetricsCSV(self.folder, steps),
            open_tracker(self.options.tracker, self.folder, self.config_dump, steps),
            *_listed(trainer.logger),
        ]
        if not terminal:
            loggers.append(Lines())
        plugins = [*_listed(trainer.plugins), WholeCheckpoints()]
        launcher = cluster()
        if launcher and not any(isinstance(one, ClusterEnvironment) for one in plugins):
            # The launcher has started the processes, so it decides how many there are, in each launch anew.
            plugins.append(launcher.environment)
            kwargs = {**kwargs, "devices": launcher.devices, "num_nodes": launcher.nodes}
        return super().instantiate_trainer(
            **kwargs,
            default_root_dir=str(self.folder),
            logger=[logger for logger in loggers if logger is not None],
            plugins=plugins,
            # A profiler, because no hook of a callback surrounds the wait for a batch.
            profiler=trainer.profiler or LoaderClock(),
            enable_progress_bar=terminal,
            enable_model_summary=bool(trainer.enable_model_summary),
            callbacks=[
                *_listed(trainer.callbacks),
                *self._callbacks(self.options),
                *([progress_bar()] if terminal else []),
            ],
        )

    def fit(self) -> None:
        """Write the config, then train until the budget is used."""
        self._write_config()
        self._write_origin()
        with handlers_kept():
            self.trainer.fit(
                self.model,
                datamodule=self.datamodule,
                ckpt_path=str(self.last) if self.last.is_file() else None,
                weights_only=True,
            )

    @rank_zero_only
    def warn_of_the_clock(self) -> None:
        """Print a warning if trainer.max_time ended the training before its budget."""
        trainer: Any = self.trainer
        timers = [one for one in trainer.callbacks if isinstance(one, Timer)]
        in_time = any((one.time_remaining() or 0) > 0 for one in timers)
        if not timers or in_time or trainer.fast_dev_run:
            return
        spent = budget(trainer)
        if spent.done < spent.total:
            print(
                f"trainer.max_time stopped the training after step {trainer.global_step}, at "
                f"{100 * spent.done / spent.total:.0f} % of its budget, before the end of its schedule. Continue "
                f"with `rased train --resume {self.folder} --trainer.max_time null`, or train again with a smaller "
                "trainer.max_steps.",
                file=sys.stderr,
            )

    @property
    def tracker(self) -> "Run | None":
        """Return the run of Weights & Biases, if there is one in this process."""
        loggers = [one for one in self.trainer.loggers if isinstance(one, WandbLogger)]
        return cast("Run", loggers[0].experiment) if loggers else None

    def close(self) -> None:
        """Flush Weights & Biases."""
        # With WANDB_MODE=disabled, it was never imported.
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish()

    @rank_zero_only
    def print_summary(self) -> None:
        """Print a table of the last metrics, and the path of the best checkpoint."""
        table = Table("metric", "last value", title=str(self.folder))
        for name, value in sorted(self.trainer.callback_metrics.items()):
            # Means over the last few steps, which say nothing about the run.
            if not name.startswith("speed/") and not name.endswith("_mb"):
                table.add_row(name, f"{float(value):.4g}")
        table.add_row("steps", str(self.trainer.global_step))
        for best in self.trainer.checkpoint_callbacks:
            if isinstance(best, KeepBest) and best.score is not None:
                table.add_row(f"best {best.monitor}", f"{best.score:.4g}")
        open_console().print(table)

    @rank_zero_only
    def _write_config(self) -> None:
        path = self.folder / CONFIG
        with on_disk(path, "Nothing was changed: make room"):
            write_text(path, yaml_reader.dump(self.config_dump))

    @rank_zero_only
    def _write_origin(self) -> None:
        if self.origin is not None and not (self.folder / FOLDER).exists():
            self.origin.save(self.folder)

    def _callbacks(self, options: RunOptions) -> list[Callback]:
        checkpoints = self.folder / "checkpoints"
        callbacks: list[Callback] = [
            History(self.folder, self.config_dump),
            Throughput(),
            Caches(),
            BadSamples(self.folder),
            Examples(self.folder, options.examples_every, options.examples),
            KeepBest(checkpoints, options.monitor, options.mode, self.config_dump),
        ]
        if options.patience is not None:
            callbacks.append(
                EarlyStopping(
                    options.monitor,
                    mode=options.mode,
                    patience=options.patience,
                    check_on_train_epoch_end=False,  # check before last.ckpt is saved, so that its count is included
                )
            )
        last = KeepLast(checkpoints, options.save_minutes, options.stop_after, self.steps)
        return [*callbacks, last]


def refused_by_lightning(error: Exception) -> RasedError:
    """Convert an exception of Lightning to one sentence."""
    words = " ".join(str(error).split())
    return RasedError(f"the trainer rejects the configuration: {words}")


def _listed(value: Any) -> list[Any]:
    """Return the values of a trainer key as a list: none, one, or several."""
    if value is None or isinstance(value, bool):
        return []
    return [*value] if isinstance(value, list | tuple) else [value]

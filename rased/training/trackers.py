"""Where the curves of a run go besides metrics.csv: Weights & Biases, TensorBoard, Trackio, or nowhere else."""

import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from rased.errors import RasedError
from rased.training.tracking import wandb_logger

Tracker = Literal["wandb", "tensorboard", "trackio", "csv"]


def open_tracker(
    tracker: Tracker, folder: Path, config: dict[str, Any], steps: int
) -> Logger | None:
    """Return the logger of a run; None for "csv", and on ranks that log nothing. None of them needs an account.

    Args:
        tracker: its name.
        folder: folder of the run; everything is written into it.
        config: configuration of the run.
        steps: number of steps done by a run that is resumed.

    Raises:
        ModuleNotFoundError, RasedError: its package is not installed.
    """
    if tracker == "wandb":
        return wandb_logger(folder, config)
    # Lightning sets this rank.
    if tracker == "csv" or vars(rank_zero_only).get("rank", 0):
        return None
    return (
        tensorboard_logger(folder, steps) if tracker == "tensorboard" else Trackio(folder, config)
    )


def tensorboard_logger(folder: Path, steps: int) -> TensorBoardLogger:
    """Return a logger to `folder`/tensorboard (`tensorboard --logdir runs`); what a resumed run repeats is hidden."""
    import tensorboard  # noqa: F401 - Lightning would report it without the name of the package

    return TensorBoardLogger(
        str(folder),
        name="",
        version="tensorboard",
        default_hp_metric=False,
        purge_step=steps or None,
    )


class Trackio(Logger):
    """Logs to `folder`/trackio (`TRACKIO_DIR=runs/NAME/trackio trackio show`), or to TRACKIO_DIR if it is set."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        super().__init__()
        os.environ.setdefault("TRACKIO_DIR", str((folder / "trackio").resolve()))
        try:
            import trackio
        except ModuleNotFoundError as error:
            raise RasedError(
                "run.tracker is trackio, whose package is not installed: pip install trackio, or choose wandb, "
                "tensorboard or csv."
            ) from error
        self._folder, self._module = folder, trackio
        # The same name again continues the run.
        trackio.init(project="rased", name=folder.name, config=config, resume="allow")

    @property
    def name(self) -> str:
        """Return the name of the run."""
        return self._folder.name

    @property
    def version(self) -> str:
        """Return an empty version: runs are identified by name."""
        return ""

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Do nothing: the configuration was given at the start."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log values of a step."""
        self._module.log({name: float(value) for name, value in metrics.items()}, step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is pending."""
        self._module.finish()

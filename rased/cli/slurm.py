"""`rased train --submit`: queue the training as a job of Slurm, through submitit."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rased import yaml_reader
from rased.errors import RasedError

FOLDER = "slurm"
"""Folder in the run for the script, the log and the state of each job."""


class Job:
    """What every process of the job runs: a command of rased, which continues its run when it is repeated.

    Args:
        words: arguments of the command.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)

    def __call__(self) -> None:
        """Run the command; exit with its code if it fails."""
        from rased.cli import main

        code = main(self.words)
        stop = getattr(signal, "SIGUSR2", None)
        if stop is not None and code == 128 + stop:
            # last.ckpt is saved. Now the handler of submitit queues the job again.
            signal.raise_signal(stop)
        elif code:
            raise SystemExit(code)

    def checkpoint(self) -> Any:
        """Return what submitit runs when the job starts again: the same."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(words: Sequence[str], settings: Sequence[str], folder: Path) -> str:
    """Queue a job that runs `rased WORDS`; return its number.

    Args:
        words: arguments of the command.
        settings: KEY=VALUE, the settings of submitit: nodes, gpus_per_node, timeout_min, slurm_partition, ...
        folder: folder of the run.

    Raises:
        ModuleNotFoundError, RasedError: submitit is not installed, or it or Slurm rejects the job.
    """
    import submitit

    options = dict(_setting(one) for one in settings)
    # One process for each GPU.
    options.setdefault("tasks_per_node", options.get("gpus_per_node", 1))
    try:
        executor = submitit.AutoExecutor(folder / FOLDER, cluster=options.pop("cluster", "slurm"))
        executor.update_parameters(**{"name": folder.name, **options})
        return str(executor.submit(Job(words)).job_id)
    except (RuntimeError, NameError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RasedError(f"--submit: the job cannot be queued: {reason}") from error


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise RasedError(
            f"--submit: '{text}' is not a setting: write KEY=VALUE, such as nodes=2 gpus_per_node=4 timeout_min=720."
        )
    return key, yaml_reader.parse(value.encode(), of=f"--submit {key}", own=True)

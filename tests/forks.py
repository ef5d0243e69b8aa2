"""`rased` in a process of its own without seconds of imports: a fork has PyTorch and Lightning already."""

import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from rased.cli import main


def started(words: list[str], said: Path, *, folder: Path | None = None) -> BaseProcess:
    """Start `rased WORDS` in a folder; what it says on either channel goes to the file `said`.

    As for the installed command, the working directory is not on the path.
    """
    process = get_context("fork").Process(target=_typed, args=(words, said, folder or Path.cwd()))
    process.start()
    return process


def ended(process: BaseProcess, seconds: float = 120) -> int:
    """Return the exit status of a process; a signal that killed it is negative."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {seconds:g} s")
    return process.exitcode


def _typed(words: list[str], said: Path, folder: Path) -> None:
    sys.stdin = Path(os.devnull).open()
    sys.stdout = sys.stderr = said.open("w", buffering=1)
    for channel in (1, 2):
        os.dup2(sys.stderr.fileno(), channel)
    os.chdir(folder)
    sys.path[:] = [place for place in sys.path if place]
    os.environ["WANDB_MODE"] = "disabled"
    sys.exit(main(words))

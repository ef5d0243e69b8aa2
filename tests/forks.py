"""Processes of their own without seconds of imports: a fork has PyTorch and Lightning already."""

import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from rased.cli import main


def started(words: list[str], said: Path, *, folder: Path | None = None) -> BaseProcess:
    """Start `rased WORDS` in a folder; what it says on either channel goes to the file `said`.

    As for the installed command, the working directory is not on the path.
    """
    return forked(_typed, words, said, folder or Path.cwd())


def script(code: str, arguments: list[str], said: Path) -> BaseProcess:
    """Start a script of Python without warnings; what it says on either channel goes to the file `said`."""
    return forked(_executed, code, arguments, said)


def ended(process: BaseProcess, seconds: float = 120) -> int:
    """Return the exit status of a process; a signal that killed it is negative."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {seconds:g} s")
    return process.exitcode


def forked(target: Callable[..., None], *arguments: object) -> BaseProcess:
    process = get_context("fork").Process(target=target, args=arguments)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # later versions of Python warn of forks
        process.start()
    return process


def _typed(words: list[str], said: Path, folder: Path) -> None:
    _say_into(said)
    os.chdir(folder)
    sys.path[:] = [place for place in sys.path if place]
    os.environ["WANDB_MODE"] = "disabled"
    sys.exit(main(words))


def _executed(code: str, arguments: list[str], said: Path) -> None:
    _say_into(said)
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    sys.argv[:] = ["-c", *arguments]
    exec(compile(code, "<script>", "exec"), {"__name__": "__main__"})


def _say_into(said: Path) -> None:
    sys.stdin = Path(os.devnull).open()
    sys.stdout = sys.stderr = said.open("w", buffering=1)
    for channel in (1, 2):
        os.dup2(sys.stderr.fileno(), channel)

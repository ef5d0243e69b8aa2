"""What tests of several packages use."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from tests import typechecks

typechecks.install()

# One thread for each worker of pytest-xdist and what it starts: threads that wait for each other burn twice the CPU.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# nohup ignores SIGHUP, a shell's background job SIGINT; what is ignored stays so in every child, and tests send both.
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

settings.register_profile("rased", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("rased")


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Nothing that a test writes has to outlive a failure of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class _Unweighed:
    """Stands for the process that measures the memory of systems, which takes seconds to import PyTorch."""

    def __init__(self, systems: Any, given: Any = None) -> None:
        self._names = [system.name for system in systems]

    def __enter__(self) -> "_Unweighed":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def megabytes(self) -> dict[str, float]:
        return dict.fromkeys(self._names, 12.5)


@pytest.fixture(scope="module")
def little_cost() -> Iterator[None]:
    """Evaluations measure the cost of systems with half a second of audio, and their memory not at all."""
    from rased.evaluation.scoring import cost, run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "MemoryOf", _Unweighed)
        patch.setattr(cost, "SECONDS", 0.5)
        yield

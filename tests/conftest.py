"""What tests of several packages use."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# One thread for each worker of pytest-xdist and what it starts: threads that wait for each other burn twice the CPU.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# nohup ignores SIGHUP, a shell's background job SIGINT; what is ignored stays so in every child, and tests send both.
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

settings.register_profile("rased", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("rased")


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

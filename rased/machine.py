"""What operating systems do differently, in one place: locks, bounds, positions in files, cores, memory, time.

The rest of the project runs wherever Python and PyTorch do; only this module asks for what POSIX or Linux alone has,
and says what stands in for it elsewhere.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open` to read bytes."""

WRITE = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open` to read and write bytes of a file that is made where it is missing."""


def cores() -> int:
    """Number of cores that this process may use; Linux can give it fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_folder(path: Path) -> int | None:
    """A descriptor of a folder, to lock it; None where the system opens no folders (Windows)."""
    try:
        return os.open(path, READ)
    except PermissionError:
        if os.name == "nt":
            return None
        raise


def take_lock(file: int | None, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file or folder for this process; False where another process holds it.

    Some file systems (NFS without a lock server, for one) and folders of Windows have no locks: there it is True for
    everybody.

    Args:
        file: descriptor; the lock ends when it is closed. None: what cannot be locked.
        wait: until the other process lets go, instead of returning False.
        shared: beside others that take it shared.
    """
    held = hold_lock(file, wait=wait, shared=shared)
    return True if held is None else held


def hold_lock(file: int | None, *, wait: bool = False, shared: bool = False) -> bool | None:
    """As `take_lock`, but None where nothing can be locked."""
    if file is None:
        return None
    try:
        import fcntl
    except ImportError:
        return _lock_bytes(file, wait=wait)
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _lock_bytes(file: int, *, wait: bool) -> bool | None:
    """Windows locks bytes: one far behind the end of any file."""
    try:
        import msvcrt
    except ImportError:
        return None
    windows: Any = msvcrt
    place = os.lseek(file, 0, os.SEEK_CUR)
    try:
        os.lseek(file, 1 << 62, os.SEEK_SET)
        while True:
            try:
                windows.locking(file, windows.LK_LOCK if wait else windows.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    return False
                continue  # LK_LOCK gives up after ten tries
            return True
    finally:
        os.lseek(file, place, os.SEEK_SET)


def read_at(file: int, count: int, place: int) -> bytes:
    """At most `count` bytes of an open file from `place` on; threads that share it must take turns on Windows."""
    if hasattr(os, "pread"):
        return os.pread(file, count, place)
    os.lseek(file, place, os.SEEK_SET)
    return os.read(file, count)


def write_at(file: int, content: bytes | bytearray | memoryview, place: int) -> int:
    """Write into an open file from `place` on; return how many bytes were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(file, content, place)
    os.lseek(file, place, os.SEEK_SET)
    return os.write(file, content)


def in_forked_children(function: Callable[[], object]) -> None:
    """Call a function in every child that a fork makes, where processes fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def peak_memory() -> float | None:
    """Most megabytes that this process has held at once; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss of Linux begins at what the process that started this one had
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024e-6
    try:
        import resource
    except ImportError:
        return None
    unit = 1e-6 if sys.platform == "darwin" else 1024e-6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def children_seconds() -> float:
    """Processor seconds of all processes that this one started and waited for."""
    times = os.times()
    return times.children_user + times.children_system


def no_core_dumps() -> None:
    """Write no memory image of this process to disk when it dies."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bound(*, seconds: int, memory: int) -> None:
    """End this process when it has used so many processor seconds, or asks for more bytes of memory (on Linux)."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def kill_family(process: "subprocess.Popen[str]") -> None:
    """Kill a process that was started in a session of its own, with its children where the system can."""
    if hasattr(os, "killpg"):
        import signal

        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def user() -> str:
    """What tells this user from others of the machine: a number, or the name where there is none."""
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def now() -> str:
    """UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """Name of the processor, as well as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Versions, hardware and git state of this moment."""
    import torch

    from rased import __version__

    return {
        "rased": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "git": checkout(),
    }


@lru_cache(maxsize=1)
def checkout() -> dict[str, Any] | None:
    """Commit of this checkout and whether files differ from it; None where rased is no checkout."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    words = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(folder), *word], capture_output=True, text=True, check=True
            ).stdout.strip()
            for word in words
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status)}

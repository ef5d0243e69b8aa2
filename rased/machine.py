"""Wrap what differs between operating systems: locks, resource limits, file offsets, cores, memory, time.

The rest of the project runs wherever Python and PyTorch run. Only this module uses functions that exist on POSIX
or Linux alone, and provides a substitute for other systems.
"""

import ctypes
import errno
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

# O_CLOEXEC: a program that is started does not inherit the descriptor, and with it a lock.
READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open` for reading bytes."""

WRITE = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open` for reading and writing bytes; the file is created if it is missing."""

_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Variables that limit the numerical libraries of a new process to one thread."""


def cores() -> int:
    """Return the number of cores that this process may use (on Linux possibly fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_folder(path: Path) -> int | None:
    """Open a folder for locking and return its descriptor; None if the system cannot open folders (Windows)."""
    try:
        return os.open(path, READ)
    except PermissionError:
        if os.name == "nt":
            return None
        raise


def take_lock(file: int | None, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file or folder for this process; return False if another process holds the lock.

    Some file systems (such as NFS without a lock server) and folders on Windows cannot be locked. Then the result is
    True for every process.

    Args:
        file: descriptor; closing it releases the lock. None stands for something that cannot be locked.
        wait: wait until the other process releases the lock, instead of returning False.
        shared: take a lock that several processes may hold at once.
    """
    held = hold_lock(file, wait=wait, shared=shared)
    return True if held is None else held


def hold_lock(file: int | None, *, wait: bool = False, shared: bool = False) -> bool | None:
    """Lock like `take_lock`, but return None if locking is not possible."""
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
    """Lock one byte far after the end of any file (Windows locks byte ranges, not files)."""
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
    """Read up to `count` bytes of an open file at offset `place`. Not safe for several threads on Windows."""
    if hasattr(os, "pread"):
        return os.pread(file, count, place)
    os.lseek(file, place, os.SEEK_SET)
    return os.read(file, count)


def write_at(file: int, content: bytes | bytearray | memoryview, place: int) -> int:
    """Write into an open file at offset `place`; return the number of bytes written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(file, content, place)
    os.lseek(file, place, os.SEEK_SET)
    return os.write(file, content)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders in one step; return False if system or file system cannot (Linux can).

    Raises:
        OSError: as raised by the file system.
    """
    try:
        # Python has no function for it, and os.replace cannot replace a folder that is not empty.
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if not renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE):
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def in_forked_children(function: Callable[[], object]) -> None:
    """Call a function in every forked child process, on systems that fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def peak_memory() -> float | None:
    """Return the peak resident memory of this process in megabytes; None if the system does not report it."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux, ru_maxrss of a new process starts at the value of its parent
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024e-6  # from KiB
    try:
        import resource
    except ImportError:
        return None
    unit = 1e-6 if sys.platform == "darwin" else 1024e-6  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def children_seconds() -> float:
    """Return the processor seconds of all finished child processes."""
    times = os.times()
    return times.children_user + times.children_system


def no_core_dumps() -> None:
    """Disable core dumps of this process."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bound(*, seconds: int, memory: int) -> None:
    """Limit this process to some processor seconds and bytes of memory (on Linux); exceeding a limit ends it."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def kill_family(process: "subprocess.Popen[str]") -> None:
    """Kill a process that was started in its own session, with its children where the system supports it."""
    if hasattr(os, "killpg"):
        import signal

        os.killpg(process.pid, signal.SIGKILL)  # its group has its number
    else:
        process.kill()


def cache_folder() -> Path:
    """Return the folder for downloads: $RASED_CACHE, $XDG_CACHE_HOME/rased or ~/.cache/rased.

    A user without a home folder gets one in the folder of temporary files.
    """
    given, base = os.environ.get("RASED_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given)
    if base:
        return Path(base) / "rased"
    try:
        return Path.home() / ".cache" / "rased"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"rased-{user()}"


def user() -> str:
    """Return an identifier of the user: the numeric id, or the user name on systems without ids."""
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def now() -> str:
    """Return the UTC time to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """Return the name of the processor, as far as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """Return versions, hardware and git state."""
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
    """Return the commit of this checkout and whether files were changed since; None outside a git checkout."""
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


def commit() -> str | None:
    """Return the commit of this checkout, with "+changes" if files differ; None outside a checkout."""
    found = checkout()
    if found is None:
        return None
    return f"{found['commit']}+changes" if found["dirty"] else str(found["commit"])

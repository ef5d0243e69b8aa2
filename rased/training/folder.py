"""Lock the folder of a run, so that one training at a time uses it; remove it if a start fails."""

import itertools
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rased.errors import RasedError
from rased.machine import READ, WRITE, in_forked_children, take_lock, write_at
from rased.names import plain

CONFIG = "config.yaml"
LAUNCHES = "launches.yaml"
PATIENCE_SECONDS = 120.0
"""How long a restarted training waits for the lock of its predecessor; a file server keeps that of a dead node."""
_PAUSE_SECONDS = 0.2
_LOCK = ".lock"
_held: set[int] = set()
"""Descriptors of the locks of this process. Forked children close their copies, so that no worker keeps a lock."""


def _let_go() -> None:
    for lock in _held:
        with suppress(OSError):
            os.close(lock)
    _held.clear()


in_forked_children(_let_go)


@contextmanager
def hold(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder while the block runs; create the folder if it is missing.

    If the block fails and no training has started (no launches.yaml), an empty folder is removed again.

    Args:
        folder: folder of the run.
        patience: seconds to wait for another process that holds the lock.

    Raises:
        RasedError: another process trains there.
    """
    deadline = time.monotonic() + patience
    while (lock := _lock(folder)) is None:
        if time.monotonic() >= deadline:
            raise _busy(folder)
        time.sleep(_PAUSE_SECONDS)
    # The lock has just been made; anything else belongs to somebody.
    fresh = {path.name for path in folder.iterdir()} <= {_LOCK}
    with _released(folder, lock, fresh=fresh):
        yield


@contextmanager
def new(runs: Path, name: str | None, stem: str) -> Iterator[Path]:
    """Create and lock the folder of a new run: NAME, or the first free one of STEM, STEM-2, STEM-3...; see `hold`.

    Raises:
        RasedError: the run exists already, or the name is not allowed for a checkpoint.
    """
    if name is not None:
        folder = runs / plain(name, what="--name")
        if (folder / CONFIG).exists():
            raise _exists(folder)
        with hold(folder):
            if (folder / CONFIG).exists():  # another process created the run and has finished since
                raise _exists(folder)
            yield folder
        return
    folder, lock = _first_free(runs, stem)
    with _released(folder, lock, fresh=True):
        yield folder


def is_held(folder: Path) -> bool:
    """Return whether a process is training in this folder now."""
    try:
        lock = os.open(folder / _LOCK, READ)
    except OSError:
        return False
    try:
        # A shared lock: two observers do not take each other for a training.
        return not take_lock(lock, shared=True)
    finally:
        os.close(lock)


def _first_free(runs: Path, stem: str) -> tuple[Path, int]:
    names = itertools.chain([stem], (f"{stem}-{count}" for count in itertools.count(2)))
    while True:
        folder = runs / next(names)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RasedError(f"cannot write to '{runs}': {error.strerror}.") from None
        lock = _lock(folder)
        if lock is not None:
            return folder, lock


@contextmanager
def _released(folder: Path, lock: int, *, fresh: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # The lock is still held, so nobody else has started here.
        if fresh and not (folder / LAUNCHES).exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        _held.discard(lock)
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder and return the descriptor of the lock; None if another process holds it."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / _LOCK, WRITE, 0o644)
        except FileNotFoundError:
            continue  # a failed start removed the folder between mkdir and open
        except OSError as error:
            raise RasedError(f"cannot write to '{folder}': {error.strerror}.") from None
        if not take_lock(lock):  # on file systems without locks, nothing prevents a second training
            os.close(lock)
            return None
        if _is_ours(folder, lock):
            break
        os.close(lock)
    _held.add(lock)
    with suppress(OSError):
        # Who holds it, for the message of `_busy`.
        os.ftruncate(lock, 0)
        write_at(lock, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return lock


def _is_ours(folder: Path, lock: int) -> bool:
    """Return whether the locked file is still the file of that name (it may have been removed and recreated)."""
    try:
        return os.path.samestat(os.fstat(lock), (folder / _LOCK).stat())
    except OSError:
        return False


def _busy(folder: Path) -> RasedError:
    try:
        who = (folder / _LOCK).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        who = ""
    process = f" (process {who})" if who else ""
    return RasedError(
        f"the run '{folder}' is being trained now{process}: wait for it, stop it, or choose another --name."
    )


def _exists(folder: Path) -> RasedError:
    return RasedError(
        f"the run '{folder}' exists already: continue it with --resume {folder}, or choose another --name."
    )

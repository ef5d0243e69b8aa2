"""Write files atomically, compute checksums, and turn a full disk into a readable error.

An unfinished file has a hidden name (`.NAME.RANDOM.part`) and is locked by its writer. An unfinished
file without a lock was left by a writer that was killed, and may be removed.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rased.errors import RasedError
from rased.machine import READ, WRITE, exchange, hold_lock, open_folder, take_lock

PART = ".part"
"""Suffix of the name of an unfinished file."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EFBIG)
_KEPT = 100
"""Bytes of the final name that the name of the unfinished file repeats."""


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def on_disk(out: Path, kept: str) -> Iterator[None]:
    """Raise RasedError if the disk is full or not writable.

    Args:
        out: the file or folder that is written.
        kept: start of the advice in the message: what is kept, and what to do before running the command again.

    Raises:
        RasedError: the disk is full, or writing is not permitted.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise RasedError(
            f"Cannot write to '{out}': {(error.strerror or str(error)).lower()}. {kept}, and run the "
            "same command again."
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; when the block succeeds, rename it to `path`.

    A reader sees either the complete old file or the complete new one. Several writers do not
    disturb each other: the last one wins. Files left by killed writers of `path` are removed.

    Raises:
        OSError: as raised by the file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    part, lock = _begin(path)
    try:
        yield part
        # The data must be on the disk before the rename, or a power failure may leave an empty file under the
        # final name.
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # gone if it was renamed
        _close(lock)


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; when the block succeeds, rename it to `path`.

    Args:
        path: the final folder.
        replace: replace an existing folder.

    Raises:
        FileExistsError: `path` exists when the new folder is complete, and `replace` is False.
        OSError: as raised by the file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    part, lock = _begin(path, folder=True)
    try:
        yield part
        if replace:
            _replace(part, path)
        else:
            _take_name(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _close(lock)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder next to `path`; it is removed at the end, or by the next writer after a kill.

    Raises:
        OSError: as raised by the file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    part, lock = _begin(path, folder=True)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _close(lock)


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically; see `replacing`."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file atomically; see `replacing`."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def unfinished_name(name: str) -> str:
    """Return a hidden, random name for an unfinished file; it fits the file system if `name` does.

    >>> unfinished_name("a.wav").startswith(".a.wav.")
    True
    """
    return f"{_prefix(name)}{secrets.token_hex(8)}{PART}"


def remove_abandoned(path: Path) -> None:
    """Remove unfinished files and folders that killed writers of `path` left in the same folder."""
    try:
        prefix = _prefix(path.name)
        left = [
            one
            for one in path.parent.iterdir()
            if one.name.startswith(prefix)
            and one.name.endswith(PART)
            and len(one.name) == len(prefix) + 16 + len(PART)  # 16 digits of `token_hex(8)`
        ]
    except OSError:
        return
    for one in left:
        with suppress(OSError):
            _remove_unlocked(one)


def _remove_unlocked(path: Path) -> None:
    """Remove an unfinished file if no writer holds its lock; keep it if the file system has no locks."""
    lock = open_folder(path) if path.is_dir() else os.open(path, READ)
    try:
        if not hold_lock(lock):
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        _close(lock)


def _close(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _prefix(name: str) -> str:
    # The cut may split a character; `fsdecode` keeps its bytes.
    kept = os.fsdecode(os.fsencode(name)[:_KEPT])
    return f".{kept}."


def _begin(path: Path, *, folder: bool = False) -> tuple[Path, int | None]:
    """Create an unfinished file or folder; return its path and the descriptor that holds its lock."""
    lock: int | None
    while True:
        part = path.with_name(unfinished_name(path.name))
        if folder:
            part.mkdir()
            try:
                lock = open_folder(part)
            except FileNotFoundError:  # another writer removed it as abandoned before we locked it
                continue
        else:
            lock = os.open(part, WRITE | os.O_EXCL, 0o666)  # never an existing file
        take_lock(lock, wait=True)  # without locks, nobody removes unfinished files
        if part.exists():  # still there: nobody removed it as abandoned before we locked it
            return part, lock
        _close(lock)


def _replace(part: Path, path: Path) -> None:
    """Give a folder the name of another one; the other one then has the unfinished name, or is gone."""
    while True:
        # Both can fail in a race: another writer creates or removes `path` between the two.
        with suppress(FileExistsError):
            return _take_name(part, path)
        try:
            if not exchange(part, path):
                _replace_in_two_steps(part, path)
            return None
        except FileNotFoundError:
            if not part.exists():
                raise


def _replace_in_two_steps(part: Path, path: Path) -> None:
    """Replace a folder where two names cannot be exchanged: a kill between the renames leaves hidden names only."""
    # A hidden name: if this process is killed in between, the old folder counts as abandoned.
    old = path.with_name(unfinished_name(path.name))
    path.rename(old)
    try:
        part.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _take_name(part: Path, path: Path) -> None:
    """Rename a folder to a name that is not in use (a plain rename would silently replace an empty folder)."""
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    try:
        part.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        raise

"""Files on disk: written in one step, checksums, a disk without room as a sentence.

What is being written has a hidden name of its own (`.NAME.RANDOM.part`) and is locked: whoever finds
such a file without a lock knows that its writer was killed, and may remove it.
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
from rased.machine import READ, WRITE, hold_lock, open_folder, take_lock

PART = ".part"
"""Ends the name of a file that is being written."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EFBIG)
_KEPT = 100
"""Bytes of a file's name that the name of its unfinished file repeats."""


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def on_disk(out: Path, kept: str) -> Iterator[None]:
    """Turn a disk that is full or closed to us into a sentence.

    Args:
        out: what is written.
        kept: what is left of it then, and what to do before the same command is given again.

    Raises:
        RasedError: it is.
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
    """Give the name of a file to fill; when the block ends well, that file becomes `path`.

    A reader sees the old file or the new one, whole, whatever happens meanwhile. Several writers do
    not meet: the last one stays. What killed writers of this file left is removed.

    Raises:
        OSError: as the disk gives it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    part, lock = _begin(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        _close(lock)


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give the name of a folder to fill; when the block ends well, that folder becomes `path`.

    Args:
        path: of the folder.
        replace: whether one that is there makes way.

    Raises:
        FileExistsError: `path` is there when the new folder is whole, and is not to be replaced.
        OSError: as the disk gives it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    part, lock = _begin(path, folder=True)
    try:
        yield part
        if replace and path.exists():
            old = path.with_name(unfinished_name(path.name))
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            _take_name(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _close(lock)


def write_text(path: Path, text: str) -> None:
    """Write a small file in one step; see `replacing`."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a small JSON file in one step; see `replacing`."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def unfinished_name(name: str) -> str:
    """A hidden name, different at each call, for what becomes `name`; it fits where `name` does.

    >>> unfinished_name("a.wav").startswith(".a.wav.")
    True
    """
    return f"{_prefix(name)}{secrets.token_hex(8)}{PART}"


def remove_abandoned(path: Path) -> None:
    """Remove unfinished files and folders that killed writers of `path` left beside it."""
    try:
        prefix = _prefix(path.name)
        left = [
            one
            for one in path.parent.iterdir()
            if one.name.startswith(prefix)
            and one.name.endswith(PART)
            and len(one.name) == len(prefix) + 16 + len(PART)
        ]
    except OSError:
        return
    for one in left:
        with suppress(OSError):
            _remove_unlocked(one)


def _remove_unlocked(path: Path) -> None:
    """Remove what nobody writes; where there are no locks nobody can tell, and it stays."""
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
    kept = os.fsdecode(os.fsencode(name)[:_KEPT])
    return f".{kept}."


def _begin(path: Path, *, folder: bool = False) -> tuple[Path, int | None]:
    """Make an unfinished file or folder; return it and the descriptor that holds its lock."""
    lock: int | None
    while True:
        part = path.with_name(unfinished_name(path.name))
        if folder:
            part.mkdir()
            try:
                lock = open_folder(part)
            except FileNotFoundError:  # taken for abandoned before it could be locked
                continue
        else:
            lock = os.open(part, WRITE | os.O_EXCL, 0o666)
        take_lock(lock, wait=True)  # without locks nobody removes what is unfinished
        if part.exists():  # nobody has taken it for abandoned before it was locked
            return part, lock
        _close(lock)


def _take_name(part: Path, path: Path) -> None:
    """Rename a folder where nothing has that name (an empty folder would be replaced silently)."""
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    try:
        part.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        raise

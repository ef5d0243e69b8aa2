"""Find audio files in a folder and its subfolders; each folder is visited once, also with links."""

import os
from collections import Counter, deque
from collections.abc import Collection, Iterator
from pathlib import Path

from rased.audio.names import looks_like_audio
from rased.audio.problems import printable
from rased.errors import RasedError


def audio_below(
    folder: Path,
    *,
    passed_over: Counter[str] | None = None,
    without: Collection[str] = (),
) -> Iterator[Path]:
    """Yield the files below a folder whose names are those of audio files, as relative paths; in no order.

    Hidden files and folders are ignored. Links to folders are followed after all other folders. A link to a
    folder that was already visited is ignored, so that no recording occurs twice and links cannot form a loop.

    Args:
        folder: the folder.
        passed_over: counts what is ignored, by reason.
        without: names of folders directly below `folder` to ignore.

    Raises:
        RasedError: a folder cannot be read.
    """
    counted: Counter[str] = Counter() if passed_over is None else passed_over
    # Device and inode: the same for a folder and every link to it.
    seen: set[tuple[int, int]] = set()
    waiting, links = deque([Path()]), deque[Path]()
    while waiting or links:
        here = waiting.popleft() if waiting else links.popleft()
        identity = _identity(folder / here)
        if identity in seen:
            counted["links to folders that were already visited"] += 1
            continue
        seen.add(identity)
        for entry in _entries(folder / here):
            path = here / entry.name
            if _is_folder(entry):
                if entry.name.startswith(".") or (here == Path() and entry.name in without):
                    counted[f"folders '{printable(entry.name)}'"] += 1
                else:
                    (links if entry.is_symlink() else waiting).append(path)
            elif looks_like_audio(path):
                yield path
            else:
                counted["files that are not audio according to their names"] += 1


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise RasedError(
            f"the folder '{printable(folder)}' cannot be read: {(error.strerror or '').lower()}."
        ) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself: reading it reports the error


def _identity(folder: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise RasedError(
            f"the folder '{printable(folder)}' cannot be read: {(error.strerror or '').lower()}."
        ) from None
    return found.st_dev, found.st_ino

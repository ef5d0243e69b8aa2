"""Find checkpoints by name."""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rased.config import cache_folder
from rased.errors import RasedError, cut, nearest
from rased.zoo.card import CARD

_PACKAGE = Path(__file__).parent.parent


def cache() -> Path:
    """Return the folder of pulled checkpoints; see `config.cache_folder`."""
    return cache_folder() / "zoo"


def shelves() -> list[Path]:
    """Return the folders of checkpoints; the first folder that has a name is used.

    They are $RASED_ZOO (one folder or several, as in PATH), zoo/ of a checkout, the zoo inside an installed
    package, and the cache of pulled checkpoints.
    """
    # The cache comes last, so that what others publish never hides a checkpoint of the user or the project.
    return [*given_shelves(), cache()]


def given_shelves() -> list[Path]:
    """Return all of these folders except the cache."""
    given = [Path(part) for part in os.environ.get("RASED_ZOO", "").split(os.pathsep) if part]
    return [*given, _PACKAGE.parent / "zoo", _PACKAGE / "assets" / "zoo"]


def entries() -> dict[str, Path]:
    """Return the folder of each checkpoint by name, sorted."""
    found: dict[str, Path] = {}
    for shelf in shelves():
        for card in _cards(shelf):
            found.setdefault(card.parent.name, card.parent)
    return dict(sorted(found.items()))


def _cards(shelf: Path) -> list[Path]:
    """Return the cards in a folder; hidden folders are entries that are being written."""
    try:
        return [
            folder / CARD
            for folder in sorted(shelf.iterdir())
            if not folder.name.startswith(".") and (folder / CARD).is_file()
        ]
    except OSError:
        return []


def list_checkpoints(pattern: str = "*") -> list[str]:
    """Return the names of the checkpoints in the zoo that match a pattern such as "*16k*"."""
    return [name for name in entries() if fnmatchcase(name, pattern)]


def find(name: str | Path, *, others: Sequence[str] = ()) -> Path:
    """Return the folder of a checkpoint, given its name, its folder or its card.

    Args:
        name: name, folder or card.
        others: more names that the caller accepts, for the error message.

    Raises:
        RasedError: unknown checkpoint; the message suggests similar names.
    """
    path, known = Path(name), entries()
    try:
        if path.name == CARD and path.is_file():
            return path.parent
        if (path / CARD).is_file():
            return path
        if str(name) in known:
            return known[str(name)]
        if path.is_dir():
            raise RasedError(f"the folder '{path}' has no {CARD}; give the folder of a zoo entry.")
    except (OSError, UnicodeError):  # a name that is not possible for a file
        pass
    raise RasedError(
        f"no checkpoint '{cut(str(name))}' in the zoo; {nearest(str(name), [*known, *others])}"
    )

"""Where checkpoints live and what they are called."""

import os
from fnmatch import fnmatchcase
from pathlib import Path

from rased.config import cache_folder
from rased.errors import RasedError, cut, nearest
from rased.zoo.card import CARD

_PACKAGE = Path(__file__).parent.parent


def cache() -> Path:
    """Where pulled checkpoints go; see `config.cache_folder`."""
    return cache_folder() / "zoo"


def shelves() -> list[Path]:
    """Folders of checkpoints, the first one that knows a name wins.

    $RASED_ZOO (one folder or several, as in PATH), zoo/ of a checkout, the zoo inside an installed
    package, the cache of pulled ones.
    """
    return [*given_shelves(), cache()]


def given_shelves() -> list[Path]:
    """The shelves that somebody filled by hand: all but the cache."""
    given = [Path(part) for part in os.environ.get("RASED_ZOO", "").split(os.pathsep) if part]
    return [*given, _PACKAGE.parent / "zoo", _PACKAGE / "assets" / "zoo"]


def entries() -> dict[str, Path]:
    """Folder of each checkpoint by name, sorted."""
    found: dict[str, Path] = {}
    for shelf in shelves():
        for card in _cards(shelf):
            found.setdefault(card.parent.name, card.parent)
    return dict(sorted(found.items()))


def _cards(shelf: Path) -> list[Path]:
    """Cards of the entries on a shelf; hidden folders hold what is being written."""
    try:
        return [
            folder / CARD
            for folder in sorted(shelf.iterdir())
            if not folder.name.startswith(".") and (folder / CARD).is_file()
        ]
    except OSError:
        return []


def list_checkpoints(pattern: str = "*") -> list[str]:
    """Names of the checkpoints in the zoo that match a pattern such as "*16k*"."""
    return [name for name in entries() if fnmatchcase(name, pattern)]


def find(name: str | Path) -> Path:
    """Folder of a checkpoint given by its name, its folder or its card.

    Raises:
        RasedError: there is none; with the nearest names.
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
            raise RasedError(
                f"the folder '{path}' holds no {CARD}; name the folder of a zoo entry."
            )
    except (OSError, UnicodeError):  # a name that no file can have
        pass
    raise RasedError(
        f"there is no checkpoint '{cut(str(name))}' in the zoo; {nearest(str(name), known)}"
    )

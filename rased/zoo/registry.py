"""Find checkpoints by name."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rased.errors import RasedError, cut, nearest
from rased.shelves import CARD, shelves


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

"""The folders that hold checkpoints."""

import os
from pathlib import Path

from rased.machine import cache_folder

CARD = "card.yaml"
"""The file that describes a checkpoint, in its folder."""
DEFAULT_MODEL = "gtcrn-tuned-16k"
"""Checkpoint that is used by default: the best that streams with little load on any machine."""
_PACKAGE = Path(__file__).parent


def cache() -> Path:
    """Return the folder of pulled checkpoints; see `machine.cache_folder`."""
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

"""The zoo: a card and safetensors in, an enhancer out; nothing else is ever executed."""

from pathlib import Path
from typing import TYPE_CHECKING

from rased.zoo.registry import find, list_checkpoints

if TYPE_CHECKING:
    from rased.models.base import Enhancer

__all__ = ["find", "list_checkpoints", "load"]


def load(name: str | Path) -> "Enhancer":
    """Load an enhancer from the zoo, verified, in evaluation mode.

    Args:
        name: a name (`rased.list_checkpoints()`), the folder of an entry, or the URL of a card.

    Raises:
        RasedError: no such checkpoint (with the nearest names), or one that is not what its card
            says.
    """
    from rased.zoo.loading import load_folder

    if str(name).startswith(("http://", "https://")):
        from rased.zoo.pull import pull

        return load_folder(pull(str(name)))
    return load_folder(find(name))

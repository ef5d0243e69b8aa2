"""Read weights from checkpoints that authors wrote with PyTorch: tensors only, with their sizes checked."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.tensors import read_checkpoint
from rased.zoo.assembly import is_plain

Model = TypeVar("Model", bound=Enhancer)
_MOST = 64
"""Maximum number of consecutive layers or blocks."""


def read_weights(path: Path, key: str = "model") -> dict[str, Tensor]:
    """Return the tensors of a checkpoint without running anything from it.

    Args:
        path: path of the file.
        key: key of the tensors; "" if the file contains nothing else.

    Raises:
        RasedError: not readable, or it contains no tensors.
    """
    content = read_checkpoint(path)
    weights = content.get(key) if key else content
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        where = f" under the key '{key}'" if key else ""
        raise RasedError(f"'{path}' has no weights{where}.")
    strange = [name for name, tensor in weights.items() if not is_plain(tensor)]
    if strange:
        raise RasedError(f"'{path}': '{strange[0][:80]}' is not a plain tensor.")
    return weights


def numbered(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Return the number of parts of a kind; the first group of the pattern is their index.

    Raises:
        RasedError: more than any network has.
    """
    found = {int(match[1]) for name in weights if (match := re.match(pattern, name))}
    if len(found) > _MOST:
        raise RasedError(f"{len(found)} parts of a kind are more than a network has.")
    return len(found)


def renamed(name: str, patterns: Mapping[str, Any]) -> str:
    """Return a name after all substitutions (regular expression to replacement or function), in their order."""
    for old, new in patterns.items():
        name = re.sub(old, new, name)
    return name


def filled(model: Model, weights: Mapping[str, Tensor], path: Path, what: str) -> Model:
    """Return the model with all of its weights, in evaluation mode; counters of batch norms may be missing.

    Raises:
        RasedError: a tensor is missing, unexpected, or of another shape.
    """
    wanted = model.state_dict()
    # They count training batches and have no effect in evaluation mode; some authors strip them.
    counts = {name: wanted[name] for name in wanted if name.endswith("num_batches_tracked")}
    given = {**counts, **weights}
    for name in sorted(given.keys() ^ wanted.keys()):
        raise RasedError(f"'{path}' is not a {what}: {name} is missing or unexpected.")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            raise RasedError(
                f"'{path}' is not a {what}: {name} is {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}."
            )
    model.load_state_dict(given)
    return model.eval()

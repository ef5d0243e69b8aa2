"""Weights out of a checkpoint that authors wrote with PyTorch: tensors alone, each as large as it says."""

from pathlib import Path

from torch import Tensor

from rased.errors import RasedError
from rased.tensors import read_checkpoint
from rased.zoo.assembly import is_plain


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of the checkpoint under "model", read without running anything that it holds.

    Raises:
        RasedError: not readable, or no tensors under "model".
    """
    weights = read_checkpoint(path).get("model")
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise RasedError(f"'{path}' holds no weights under the key 'model'.")
    strange = [name for name, tensor in weights.items() if not is_plain(tensor)]
    if strange:
        raise RasedError(f"'{path}': '{strange[0][:80]}' is not a plain tensor.")
    return weights

"""What the modules of this folder share: seeded weights of the authors' module in ours, and packages of theirs."""

import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from tests.models.parity.weights import seeded

Shapes = Mapping[str, Sequence[int]]
Recorded = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]
"""Inputs, outputs, and the state of the authors' module."""


def seeded_state(shapes: Shapes, kind: str = "") -> dict[str, Tensor]:
    """Seeded weights of the authors' module, or of one of several, whose names begin with `kind/`."""
    head = f"{kind}/" if kind else ""
    names = [name.removeprefix(head) for name in shapes if name.startswith(head)]
    return {name: seeded(name, tuple(shapes[head + name])) for name in names}


def load(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Fill every weight of the module; the counts of batch norms stay."""
    missing = module.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)


def packages(folder: Path, *names: str) -> None:
    """Make packages of the folder importable without what their `__init__` imports."""
    for name in names:
        package = types.ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package

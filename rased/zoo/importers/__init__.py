"""Weights that authors publish, read as tensors only and put into our models, by architecture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

Imported = tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]
"""Spec of the enhancer, its weights, and facts for the card."""


def _gtcrn(path: Path) -> Imported:
    from rased.zoo.importers.gtcrn import STFT_OF_AUTHORS, import_gtcrn

    model = import_gtcrn(path)
    spec = {"class_path": "rased.models.gtcrn.GTCRN", "init_args": {"stft": dict(STFT_OF_AUTHORS)}}
    facts = {
        "summary": "GTCRN with its authors' weights",
        "paper": model.paper,
        "licence": {"code": "MIT", "weights": "MIT", "data": "see the authors' repository"},
        "source": "https://github.com/Xiaobin-Rong/gtcrn",
        "training": {"data": Path(path).stem},
    }
    return spec, dict(model.state_dict()), facts


IMPORTERS: dict[str, Callable[[Path], Imported]] = {"gtcrn": _gtcrn}
"""`rased zoo import ARCHITECTURE FILE`: file to spec, weights and facts; RasedError if it is not one."""

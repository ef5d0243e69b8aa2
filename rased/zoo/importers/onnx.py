"""Read initial tensors and operators from an ONNX file. It is parsed as a protocol buffer; nothing is run."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rased import documents
from rased.errors import RasedError

LARGEST = 64 << 20
"""Maximum bytes of a file."""


def read_graph(path: Path, what: str) -> tuple[list[tuple[str, list[str]]], dict[str, Tensor]]:
    """Return the operators (kind, names of inputs) in order, and the float32 initial tensors by name.

    Args:
        path: the file.
        what: name of the expected network, for error messages.

    Raises:
        RasedError: the file cannot be read, is too large, or is not an ONNX file.
    """
    content = documents.read_bytes(path, repair=f"Give the file of {what}.", largest=LARGEST)
    return parse_graph(content, path, what)


def parse_graph(
    content: bytes, path: Path, what: str
) -> tuple[list[tuple[str, list[str]]], dict[str, Tensor]]:
    """Parse the bytes of a file; `path` and `what` are for the error message.

    Raises:
        RasedError: not an ONNX file.
    """
    operators: list[tuple[str, list[str]]] = []
    tensors: dict[str, Tensor] = {}
    try:
        for graph in _all(content, _GRAPH):
            for node in _all(graph, _NODE):
                kind = _text(node, _KIND)
                operators.append((kind, [bytes(name).decode() for name in _all(node, _INPUT)]))
                if kind == "Constant":
                    tensors |= dict(_constants(node))
            for tensor in _all(graph, _INITIAL):
                if _FLOAT in _all(tensor, _TYPE):
                    tensors[_text(tensor, _NAME)] = _tensor(tensor)
    except (ValueError, IndexError, struct.error, TypeError) as error:
        raise RasedError(f"'{path}' is not an ONNX file of {what}: {error}.") from error
    if not operators or not tensors:
        raise RasedError(f"'{path}' is not an ONNX file of {what}: it contains no network.")
    return operators, tensors


_GRAPH, _NODE, _INITIAL = 7, 1, 5
_INPUT, _OUTPUT, _KIND, _ATTRIBUTE = 1, 2, 4, 5
_VALUE = 5
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9
_FLOAT = 1
"""Field numbers of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto (onnx.proto); a data type."""


def torch_gates(gates: Tensor) -> Tensor:
    """Reorder the gates of a GRU: from update, reset, new (ONNX) to reset, update, new (PyTorch)."""
    update, reset, new = gates.chunk(3)
    return torch.cat([reset, update, new])


def _constants(node: memoryview) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of a node of the kind Constant, if it is a tensor of float32."""
    for attribute in _all(node, _ATTRIBUTE):
        for tensor in _all(attribute, _VALUE):
            if _FLOAT in _all(tensor, _TYPE):
                yield _text(node, _OUTPUT), _tensor(tensor)


def _tensor(content: memoryview) -> Tensor:
    shape = [int(size) for size in _all(content, _DIMS)]
    # Exporters store floats either as raw bytes or as a packed list; both are little-endian float32.
    raw = b"".join(_all(content, _RAW)) or b"".join(_all(content, _FLOATS))
    values = np.frombuffer(raw, dtype="<f4")
    return torch.from_numpy(values.reshape(shape).copy())


def _text(content: memoryview, field: int) -> str:
    return b"".join(_all(content, field)).decode()


def _all(content: bytes | memoryview, field: int) -> list[Any]:
    return [value for number, value in _fields(memoryview(content)) if number == field]


def _fields(content: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield numbers and values of the fields of a message: integers, or the bytes of a length-prefixed field."""
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
            raise ValueError(f"a field has the unsupported wire type {wire}")
        if place + length > len(content):
            raise ValueError("a field extends beyond the end of the file")
        yield number, content[place : place + length]
        place += length


def _integer(content: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = content[place]
        place += 1
        # Protocol buffers store integers in groups of 7 bits, lowest first; the top bit says that more follow.
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
    raise ValueError("an integer has more than 64 bits")

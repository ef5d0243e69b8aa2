"""Convert model.onnx to LiteRT, in an environment of its own: `python litert_convert.py FOLDER`.

The converter, litert-torch, takes modules of PyTorch without complex numbers and recurrent layers. The graph has no
complex numbers, so that it is read back as a module of real operators. This file imports nothing of rased. It writes
model.tflite, and to checked.npz what this gives for the chunks and the state in check.npz.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

Attributes = dict[str, Any]


class Graph(nn.Module):
    """The graph as a module: positional inputs and outputs, in the order of the file."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.nodes = list(model.graph.node)
        self.inputs = [one.name for one in model.graph.input]
        self.outputs = [one.name for one in model.graph.output]
        self.constants = {
            one.name: torch.from_numpy(numpy_helper.to_array(one).copy())
            for one in model.graph.initializer
        }

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run all nodes."""
        values = {**self.constants, **dict(zip(self.inputs, tensors, strict=True))}
        for node in self.nodes:
            given = [values[name] if name else None for name in node.input]
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            for name, value in zip(node.output, _run(node, given, attributes), strict=False):
                values[name] = value
        return tuple(values[name] for name in self.outputs)


def _run(node: NodeProto, given: list[Any], attributes: Attributes) -> tuple[Any, ...]:
    kind = node.op_type
    if kind == "GRU":
        return _gru(given, attributes)
    if kind == "LSTM":
        return _lstm(given, attributes)
    if kind == "Split":
        axis, count = attributes.get("axis", 0), len(node.output)
        sizes = given[1].tolist() if len(given) > 1 else [given[0].shape[axis] // count] * count
        starts = [sum(sizes[:number]) for number in range(count)]
        pieces = zip(starts, sizes, strict=True)
        return tuple(given[0].narrow(axis, start, size) for start, size in pieces)
    if kind not in OPERATORS:
        raise NotImplementedError(f"the operator {kind}")
    return (OPERATORS[kind](given, attributes),)


def _gates(given: list[Any], count: int) -> Iterator[tuple[int, Tensor, Tensor, Tensor, Tensor]]:
    """Yield direction, input weights, recurrent weights and both biases."""
    weights, recurrent, biases = given[1:4]
    for way in range(weights.shape[0]):
        middle = biases.shape[1] // 2
        yield way, weights[way].T, recurrent[way].T, biases[way, :middle], biases[way, middle:]


def _gru(given: list[Any], attributes: Attributes) -> tuple[Tensor, Tensor]:
    assert attributes["linear_before_reset"] == 1, "as PyTorch does it"
    outputs, ends, size = [], [], attributes["hidden_size"]
    for way, weights, recurrent, bias, other in _gates(given, 3):
        backwards = way == 1 or attributes.get("direction") == b"reverse"
        frames = _matmul([given[0], weights], {}) + bias
        hidden = _start(given, 5, way, size)
        rows: list[Tensor] = []
        for at in _steps(len(frames), backwards):
            update, reset, new = frames[at].split(size, dim=-1)
            inner = _matmul([hidden, recurrent], {}) + other
            update = torch.sigmoid(update + inner[:, :size])
            reset = torch.sigmoid(reset + inner[:, size : 2 * size])
            new = torch.tanh(new + reset * inner[:, 2 * size :])
            hidden = new + update * (hidden - new)
            rows.append(hidden)
        outputs.append(torch.stack(rows[::-1] if backwards else rows))
        ends.append(hidden)
    return torch.stack(outputs, dim=1), torch.stack(ends)


def _lstm(given: list[Any], attributes: Attributes) -> tuple[Tensor, Tensor, Tensor]:
    outputs, ends, cells, size = [], [], [], attributes["hidden_size"]
    for way, weights, recurrent, bias, other in _gates(given, 4):
        backwards = way == 1 or attributes.get("direction") == b"reverse"
        frames = _matmul([given[0], weights], {}) + (bias + other)
        hidden, cell = _start(given, 5, way, size), _start(given, 6, way, size)
        rows: list[Tensor] = []
        for at in _steps(len(frames), backwards):
            entry, leave, forget, new = (frames[at] + _matmul([hidden, recurrent], {})).split(
                size, dim=-1
            )
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(entry) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            rows.append(hidden)
        outputs.append(torch.stack(rows[::-1] if backwards else rows))
        ends.append(hidden)
        cells.append(cell)
    return torch.stack(outputs, dim=1), torch.stack(ends), torch.stack(cells)


def _steps(frames: int, backwards: bool) -> range:
    return range(frames - 1, -1, -1) if backwards else range(frames)


def _start(given: list[Any], place: int, way: int, size: int) -> Tensor:
    if len(given) > place and given[place] is not None:
        start: Tensor = given[place][way]
        return start
    return torch.zeros(given[0].shape[1], size)


def _conv(given: list[Any], attributes: Attributes) -> Tensor:
    rank = given[0].ndim - 2
    pads = attributes.get("pads", [0] * 2 * rank)
    bias = given[2] if len(given) > 2 else None
    folded: Tensor = (functional.conv1d, functional.conv2d)[rank - 1](
        _padded(given[0], pads[:rank], pads[rank:]),
        given[1],
        bias,
        stride=attributes.get("strides", [1] * rank),
        dilation=attributes.get("dilations", [1] * rank),
        groups=attributes.get("group", 1),
    )
    return folded


def _conv_transpose(given: list[Any], attributes: Attributes) -> Tensor:
    """Write a transposed convolution, which the converter refuses, as a plain one of values with zeros between."""
    values, weights = given[:2]
    rank, groups = values.ndim - 2, attributes.get("group", 1)
    pads = attributes.get("pads", [0] * 2 * rank)
    extra = attributes.get("output_padding", [0] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    for axis, stride in enumerate(attributes.get("strides", [1] * rank), 2):
        values = _spread(values, axis, stride)
    reach = [
        dilation * (size - 1) for dilation, size in zip(dilations, weights.shape[2:], strict=True)
    ]
    low = [most - pad for most, pad in zip(reach, pads[:rank], strict=True)]
    high = [most - pad + more for most, pad, more in zip(reach, pads[rank:], extra, strict=True)]
    turned = weights.reshape(groups, -1, *weights.shape[1:]).transpose(1, 2).flatten(0, 1)
    backwards = turned.flip(list(range(2, 2 + rank)))
    plain = {"dilations": dilations, "group": groups, "pads": [*low, *high]}
    return _conv([values, backwards, *given[2:]], plain)


def _spread(values: Tensor, axis: int, stride: int) -> Tensor:
    """Put zeros between the values of an axis."""
    if stride == 1:
        return values
    size = values.shape[axis]
    spread = torch.stack([values, *[torch.zeros_like(values)] * (stride - 1)], dim=axis + 1)
    return spread.flatten(axis, axis + 1).narrow(axis, 0, (size - 1) * stride + 1)


def _padded(values: Tensor, low: list[int], high: list[int], value: float = 0.0) -> Tensor:
    """Pad the last axes, from the first of them to the last; below 0 is cut off."""
    both = [side for pair in zip(low[::-1], high[::-1], strict=True) for side in pair]
    return functional.pad(values, both, value=value) if any(both) else values


def _slice(given: list[Any], attributes: Attributes) -> Tensor:
    starts, stops = given[1].tolist(), given[2].tolist()
    axes = given[3].tolist() if len(given) > 3 else list(range(len(starts)))
    steps = given[4].tolist() if len(given) > 4 else [1] * len(starts)
    result: Tensor = given[0]
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        places = list(range(*slice(start, stop, step).indices(result.shape[axis])))
        if step == 1:
            result = result.narrow(axis, places[0], len(places))
        else:
            result = result.index_select(axis, torch.tensor(places))
    return result


def _gather(given: list[Any], attributes: Attributes) -> Tensor:
    axis, index = (
        attributes.get("axis", 0) % given[0].ndim,
        given[1] % given[0].shape[attributes.get("axis", 0)],
    )
    taken = given[0].index_select(axis, index.flatten().long())
    shape = given[0].shape
    return taken.reshape(*shape[:axis], *index.shape, *shape[axis + 1 :])


def _pad(given: list[Any], attributes: Attributes) -> Tensor:
    pads, rank = given[1].tolist(), given[0].ndim
    value = float(given[2]) if len(given) > 2 and given[2] is not None else 0.0
    return _padded(given[0], pads[:rank], pads[rank:], value)


def _reduce(function: Callable[..., Tensor]) -> Callable[[list[Any], Attributes], Tensor]:
    def run(given: list[Any], attributes: Attributes) -> Tensor:
        axes = given[1].tolist() if len(given) > 1 else list(range(given[0].ndim))
        return function(given[0], dim=axes, keepdim=bool(attributes.get("keepdims", 1)))

    return run


def _largest(values: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    for axis in sorted((axis % values.ndim for axis in dim), reverse=True):
        values = values.max(dim=axis, keepdim=keepdim).values
    return values


def _layer_norm(given: list[Any], attributes: Attributes) -> Tensor:
    axes = list(range(attributes.get("axis", -1), 0))
    centred = given[0] - given[0].mean(dim=axes, keepdim=True)
    spread = (
        centred.square().mean(dim=axes, keepdim=True) + attributes.get("epsilon", 1e-5)
    ).sqrt()
    normal = centred / spread * given[1]
    return normal + given[2] if len(given) > 2 else normal


def _matmul(given: list[Any], attributes: Attributes) -> Tensor:
    left, right = given
    if right.ndim == 3 and left.ndim == 3 and left.shape[1] == 1:
        # One row for each matrix: the converter loses axes of such products when a shape follows.
        return (left.transpose(1, 2) * right).sum(dim=1, keepdim=True)
    if right.ndim != 2:
        return torch.matmul(left, right)
    # As a convolution over one place: a product would lose axes of length 1 in the same way.
    rows = left.reshape(-1, left.shape[-1], 1, 1)
    product = functional.conv2d(rows, right.T[:, :, None, None].contiguous())
    return product.reshape(*left.shape[:-1], right.shape[1])


def _batch_norm(given: list[Any], attributes: Attributes) -> Tensor:
    shape = (-1, *[1] * (given[0].ndim - 2))
    scale, bias, mean, variance = (one.reshape(shape) for one in given[1:])
    factor = scale / (variance + attributes.get("epsilon", 1e-5)).sqrt()
    return given[0] * factor + (bias - mean * factor)


def _gemm(given: list[Any], attributes: Attributes) -> Tensor:
    left = given[0].T if attributes.get("transA") else given[0]
    right = given[1].T if attributes.get("transB") else given[1]
    product = attributes.get("alpha", 1.0) * (_matmul([left, right], {}))
    return product + attributes.get("beta", 1.0) * given[2] if len(given) > 2 else product


def _on(function: Callable[..., Tensor]) -> Callable[[list[Any], Attributes], Tensor]:
    return lambda given, _: function(*given)


OPERATORS: dict[str, Callable[[list[Any], Attributes], Tensor]] = {
    **{
        name: _on(getattr(torch, name.lower()))
        for name in ("Sigmoid", "Tanh", "Sqrt", "Exp", "Log", "Abs", "Sin", "Cos")
    },
    **{
        "Neg": _on(torch.neg),
        "Relu": _on(torch.relu),
        "MatMul": _matmul,
        "Pow": _on(torch.pow),
    },
    **{"Add": _on(torch.add), "Sub": _on(torch.sub), "Mul": _on(torch.mul), "Div": _on(torch.div)},
    **{"Max": _on(torch.maximum), "Min": _on(torch.minimum), "Where": _on(torch.where)},
    **{
        "Greater": _on(torch.gt),
        "Less": _on(torch.lt),
        "GreaterOrEqual": _on(torch.ge),
        "Equal": _on(torch.eq),
    },
    **{
        "LessOrEqual": _on(torch.le),
        "And": _on(torch.logical_and),
        "Reciprocal": _on(torch.reciprocal),
    },
    "Identity": lambda given, _: given[0],
    "PRelu": lambda given, _: torch.relu(given[0]) - given[1] * torch.relu(-given[0]),
    "LeakyRelu": lambda given, a: torch.relu(given[0]) - a["alpha"] * torch.relu(-given[0]),
    "Elu": lambda given, a: functional.elu(given[0], a.get("alpha", 1.0)),
    "Softplus": lambda given, _: functional.softplus(given[0]),
    "Softmax": lambda given, a: torch.softmax(given[0], dim=a.get("axis", -1)),
    "Clip": lambda given, _: given[0].clamp(
        *(float(one) if one is not None else None for one in given[1:])
    ),
    "Concat": lambda given, a: torch.cat(given, dim=a["axis"]),
    "Reshape": lambda given, _: given[0].reshape(given[1].tolist()),
    "Transpose": lambda given, a: given[0].permute(a["perm"]),
    "Expand": lambda given, _: torch.broadcast_to(
        given[0], torch.broadcast_shapes(given[0].shape, given[1].tolist())
    ),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(_largest),
    "ReduceMin": _reduce(lambda values, **where: -_largest(-values, **where)),
    "ReduceL2": _reduce(lambda values, **where: values.square().sum(**where).sqrt()),
    "BatchNormalization": _batch_norm,
    "Einsum": lambda given, a: torch.einsum(a["equation"].decode(), *given),
    "LayerNormalization": _layer_norm,
    "Gemm": _gemm,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}


def main(folder: Path) -> None:
    """Convert the graph of a folder, and run it."""
    import litert_torch

    model = onnx.load(folder / "model.onnx")
    graph = Graph(model).eval()
    starts = tuple(
        torch.zeros([axis.dim_value for axis in one.type.tensor_type.shape.dim])
        for one in model.graph.input
    )
    with torch.no_grad():
        converted = litert_torch.convert(graph, starts)
    converted.export(str(folder / "model.tflite"))
    check = np.load(folder / "check.npz")
    state, found = [check[name] for name in graph.inputs[1:]], []
    for chunk in check["chunk"]:
        estimate, *state = (np.asarray(one) for one in converted(chunk[None], *state))
        found.append(estimate[0])
    np.savez(folder / "checked.npz", estimate=np.stack(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Fold batch normalisation into the convolution or product before it: a factor and a summand for each channel."""

from collections import Counter

import numpy as np
import onnx
from jaxtyping import Float64
from onnx import NodeProto, helper, numpy_helper

from rased.export.views import Shape, Views

_KEEP_CHANNELS = frozenset({"Slice", "Identity"})
"""Operators that may stand in between: they move or drop samples, and compute nothing."""
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten"})


def fold_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model whose batch normalisations are in the weights of convolutions and products before them."""
    nodes, constants, shapes, outputs = Views.contents(model)
    used = Counter(name for node in nodes for name in node.input)
    used.update(outputs)
    source = {name: node for node in nodes for name in node.output}
    new = onnx.ModelProto()
    new.CopyFrom(model)
    kept, made = [], dict(constants)
    for node in nodes:
        convolution = _convolution(node, source, used, made)
        if convolution is None:
            product = _product(node, source, used, made, shapes)
            kept.append(node if product is None else _folded(node, product, made))
            continue
        _fold(node, convolution, made)
        # What computed the input of the normalisation computes its output now.
        before = source[node.input[0]]
        before.output[0] = node.output[0]
        source[node.output[0]] = before
    del new.graph.node[:], new.graph.initializer[:]
    new.graph.node.extend(kept)
    needed = {name for node in kept for name in node.input} | set(outputs)
    new.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        for name, value in made.items()
        if name in needed
    )
    return new


def _convolution(
    node: NodeProto,
    source: dict[str, NodeProto],
    used: Counter[str],
    constants: dict[str, np.ndarray],
) -> NodeProto | None:
    """Return the convolution that a node normalises, if nothing else sees what lies between them."""
    if node.op_type != "BatchNormalization" or len(node.output) > 1:
        return None
    if any(name not in constants for name in node.input[1:]):
        return None
    name = node.input[0]
    while used[name] == 1 and (before := source.get(name)) is not None:
        if before.op_type in ("Conv", "ConvTranspose"):
            return before if all(n in constants for n in before.input[1:] if n) else None
        if before.op_type not in _KEEP_CHANNELS or _cuts_channels(before, constants):
            return None
        name = before.input[0]
    return None


def _product(
    node: NodeProto,
    source: dict[str, NodeProto],
    used: Counter[str],
    constants: dict[str, np.ndarray],
    shapes: dict[str, Shape],
) -> NodeProto | None:
    """Return the product with a matrix whose rows a node normalises, if nothing else sees what lies between them."""
    if node.op_type != "BatchNormalization" or len(node.output) > 1:
        return None
    name, shape = node.input[0], shapes.get(node.input[0], ())
    if any(one not in constants for one in node.input[1:]) or len(shape) != 2:
        return None
    while used[name] == 1 and (before := source.get(name)) is not None:
        if before.op_type == "MatMul":
            weight = constants.get(before.input[1])
            return before if weight is not None and weight.ndim == 2 else None
        # The rows may be numbered along other axes.
        if before.op_type not in _VIEWS or shapes.get(before.input[0], ())[-1:] != shape[1:]:
            return None
        name = before.input[0]
    return None


def _cuts_channels(node: NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Return whether a slice is along the channels, or along axes that are not known."""
    if node.op_type != "Slice":
        return False
    axes = constants.get(node.input[3]) if len(node.input) > 3 else None
    return axes is None or bool(np.any((axes == 1) | (axes < 0)))


def _folded(norm: NodeProto, product: NodeProto, constants: dict[str, np.ndarray]) -> NodeProto:
    """Write the factors into the matrix of a product; return the sum that remains of the normalisation."""
    factor, summand = _line(norm, constants)
    weight = constants[product.input[1]]
    names = [f"{norm.output[0]}.weight", f"{norm.output[0]}.bias"]
    constants[names[0]] = (weight * factor).astype(weight.dtype)
    constants[names[1]] = summand.astype(weight.dtype)
    product.input[1] = names[0]
    return helper.make_node("Add", [norm.input[0], names[1]], [norm.output[0]])


def _line(
    norm: NodeProto, constants: dict[str, np.ndarray]
) -> tuple[Float64[np.ndarray, " channel"], Float64[np.ndarray, " channel"]]:
    """Return factor and summand of a normalisation for each channel."""
    attributes = {one.name: helper.get_attribute_value(one) for one in norm.attribute}
    scale, shift, mean, variance = (constants[n].astype(np.float64) for n in norm.input[1:5])
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return factor, shift - mean * factor


def _fold(norm: NodeProto, convolution: NodeProto, constants: dict[str, np.ndarray]) -> None:
    """Write the normalisation into weights and bias of the convolution."""
    factor, summand = _line(norm, constants)
    weight = constants[convolution.input[1]]
    bias = np.zeros(len(factor))
    if len(convolution.input) > 2 and convolution.input[2]:
        bias = constants[convolution.input[2]].astype(np.float64)
    names = [f"{norm.output[0]}.weight", f"{norm.output[0]}.bias"]
    constants[names[0]] = _scaled(convolution, weight, factor).astype(weight.dtype)
    constants[names[1]] = (bias * factor + summand).astype(weight.dtype)
    first = convolution.input[0]
    del convolution.input[:]
    convolution.input.extend([first, *names])


def _scaled(convolution: NodeProto, weight: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply the weights of each output channel."""
    if convolution.op_type == "Conv":  # (out, in of a group, ...)
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    # (in, out of a group, ...): the inputs of a group lie together.
    groups = next((one.i for one in convolution.attribute if one.name == "group"), 1)
    each = factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return (split * each).reshape(weight.shape)

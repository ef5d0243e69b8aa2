"""Make a graph of fixed shapes small: fewer nodes, the same numbers.

For one chunk of one stream, most axes have the length 1, so that a transposition moves nothing and complex numbers are
pairs that are taken apart again. A runtime pays about two microseconds for each such node. Data are left where they
are: a node that only renames axes becomes a view of its input, and a shape is made only for nodes that depend on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

Shape = tuple[int, ...]

_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten"})
_UNARY = frozenset({"Sigmoid", "Tanh", "Sqrt", "Relu", "Exp", "Log", "Neg", "Abs", "Sin", "Cos"})
_UNARY |= {"Elu", "LeakyRelu", "Softplus", "Erf", "Reciprocal", "Cast", "Not", "Atan", "Round"}
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Greater", "Less"})
_BINARY |= {"GreaterOrEqual", "LessOrEqual", "Equal", "And", "Or"}


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model with fewer nodes; all of its shapes are fixed."""
    return _Graph.read(model).simplified().written(model)


@dataclass
class _Value:
    """A tensor that a node wrote, and the shape in which it lies there."""

    name: str
    shape: Shape


@dataclass
class _Graph:
    """Nodes, constants and shapes of a model.

    Attributes:
        nodes: in the order in which they run.
        constants: constant tensors by name.
        shapes: shape of every tensor of the original model.
        outputs: names of the outputs.
        roots: where the data of a tensor lie, if they are a view of another.
        made: nodes that were written so far.
        source: the node that wrote a tensor.
        known: results of nodes that were written before, by their content.
    """

    nodes: list[NodeProto]
    constants: dict[str, np.ndarray]
    shapes: dict[str, Shape]
    outputs: list[str]
    roots: dict[str, _Value] = field(default_factory=dict)
    made: list[NodeProto] = field(default_factory=list)
    source: dict[str, NodeProto] = field(default_factory=dict)
    known: dict[tuple[Any, ...], str] = field(default_factory=dict)

    @classmethod
    def read(cls, model: onnx.ModelProto) -> "_Graph":
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        nodes = []
        for node in graph.node:
            if node.op_type == "Constant":
                value = next(iter(node.attribute))
                constants[node.output[0]] = np.asarray(
                    numpy_helper.to_array(value.t)
                    if value.name == "value"
                    else helper.get_attribute_value(value)
                )
            else:
                nodes.append(node)
        shapes = {
            one.name: tuple(axis.dim_value for axis in one.type.tensor_type.shape.dim)
            for one in (*graph.value_info, *graph.input, *graph.output)
        }
        shapes |= {name: value.shape for name, value in constants.items()}
        return cls(nodes, constants, shapes, [one.name for one in graph.output])

    def simplified(self) -> "_Graph":
        for node in self.nodes:
            self._take(node)
        for name in self.outputs:
            root = self.root(name)
            if root.name != name:
                self._put(
                    helper.make_node("Reshape", [root.name, self._ints(self.shapes[name])], [name])
                )
        return self

    def root(self, name: str) -> _Value:
        return self.roots.get(name) or _Value(name, self.shapes.get(name, ()))

    # ------------------------------------------------------------------ one node

    def _take(self, node: NodeProto) -> None:
        """Write a node, or note that its output is a view of something that is there."""
        inputs = [name for name in node.input if name]
        if not all(name in self.shapes for name in (*inputs, *(n for n in node.output if n))):
            self._write(node, [self.root(name).name if name else "" for name in node.input])
            return
        rule: Callable[[NodeProto], bool] | None = {
            "Transpose": self._transpose,
            "MatMul": self._rowwise,
            "LayerNormalization": self._rowwise,
            "Pad": self._pad,
            "Slice": self._slice,
            "Gather": self._gather,
            "Concat": self._concat,
            "PRelu": self._prelu,
            "Pow": self._square,
        }.get(node.op_type)
        if node.op_type in _RESHAPES:
            self._view(node.output[0], self.root(node.input[0]))
        elif node.op_type in _UNARY:
            self._elementwise(node, [self.root(node.input[0])])
        elif rule is not None and rule(node):
            pass
        elif node.op_type in _BINARY and self._binary(node):
            pass
        else:
            self._write(node, [self.shaped(name) for name in node.input])

    def _view(self, name: str, root: _Value) -> None:
        if root.name in self.constants and root.name not in self.source:
            self.constants[name] = self.constants[root.name].reshape(self.shapes[name])
            return
        self.roots[name] = root

    def shaped(self, name: str, shape: Shape | None = None) -> str:
        """Return a tensor with these data in the wanted shape (by default its own)."""
        if not name:
            return ""
        root, wanted = self.root(name), self.shapes[name] if shape is None else shape
        if root.shape == wanted:
            return root.name
        if root.name in self.constants:
            reshaped = f"{root.name}.{'x'.join(map(str, wanted))}"
            self.constants[reshaped] = self.constants[root.name].reshape(wanted)
            self.shapes[reshaped] = wanted
            return reshaped
        output = f"{root.name}.{'x'.join(map(str, wanted)) or 'scalar'}"
        if output not in self.source:
            self.shapes[output] = wanted
            self._put(helper.make_node("Reshape", [root.name, self._ints(wanted)], [output]))
            self.roots[output] = root
        return output

    def _write(self, node: NodeProto, inputs: list[str]) -> None:
        """Write a node with other inputs, unless one with this content is there."""
        new = NodeProto()
        new.CopyFrom(node)
        del new.input[:]
        new.input.extend(inputs)
        content = (
            new.op_type,
            new.domain,
            *new.input,
            *(a.SerializeToString() for a in new.attribute),
        )
        before = self.known.get(content)
        if before is not None and len(node.output) == 1 and node.output[0] not in self.outputs:
            self.roots[node.output[0]] = self.root(before)
            return
        if len(node.output) == 1:
            self.known[content] = node.output[0]
        self._put(new)

    def _put(self, node: NodeProto) -> None:
        self.made.append(node)
        self.source.update(dict.fromkeys(node.output, node))

    def _ints(self, values: Shape) -> str:
        name = f"ints.{'x'.join(map(str, values)) or 'none'}"
        self.constants[name] = np.asarray(values, dtype=np.int64)
        return name

    # ------------------------------------------------------------------ rules

    def _elementwise(self, node: NodeProto, roots: list[_Value]) -> None:
        """Write a node that does not depend on the shape of its data, in the shape of its first input."""
        output, shape = node.output[0], roots[0].shape
        logical = self.shapes[output]
        self._write(node, [root.name for root in roots])
        if output in self.roots:  # it was there already
            return
        if output in self.outputs and shape != logical:
            inner = f"{output}.inner"
            self.made[-1].output[0] = inner
            self.source[inner] = self.source.pop(output)
            self.shapes[inner] = shape
            self.roots[output] = _Value(inner, shape)
        else:
            self.shapes[output] = logical
            self.roots[output] = _Value(output, shape)

    def _binary(self, node: NodeProto) -> bool:
        """Write a sum, product and so on of tensors of equal shape, or of a tensor and a number."""
        shapes = [self.shapes[name] for name in node.input]
        output = self.shapes[node.output[0]]
        sizes = [prod(shape) for shape in shapes]
        if len(node.input) != 2 or max(sizes) != prod(output):
            return False
        if sizes[0] == sizes[1]:
            if [n for n in shapes[0] if n > 1] != [n for n in shapes[1] if n > 1]:
                return False
            lead = self._lead(list(node.input))
            names = [self.shaped(name, lead) for name in node.input]
        elif min(sizes) == 1:
            large = sizes.index(max(sizes))
            lead = self.root(node.input[large]).shape
            small = self.shaped(node.input[1 - large], (1,))
            names = [small, small]
            names[large] = self.root(node.input[large]).name
            if not lead:
                return False
        else:
            return False
        self._elementwise(node, [_Value(name, lead) for name in names])
        return True

    def _lead(self, names: list[str]) -> Shape:
        """Return the shape of the first input that is not a constant."""
        roots = [self.root(name) for name in names]
        return next(
            (root.shape for root in roots if root.name not in self.constants), roots[0].shape
        )

    def _prelu(self, node: NodeProto) -> bool:
        """Write one slope for all channels as a number: a runtime then joins it with the convolution before it."""
        slope = self.constants.get(node.input[1])
        if slope is None or slope.size != 1:
            return False
        new = helper.make_node(
            "LeakyRelu", node.input[:1], node.output, alpha=float(slope.reshape(()))
        )
        self._elementwise(new, [self.root(node.input[0])])
        return True

    def _square(self, node: NodeProto) -> bool:
        """Write a square as a product."""
        exponent = self.constants.get(node.input[1])
        if exponent is None or exponent.size != 1 or float(exponent.reshape(())) != 2.0:
            return False
        root = self.root(node.input[0])
        self._elementwise(
            helper.make_node("Mul", list(node.input), list(node.output)), [root, root]
        )
        return True

    def _transpose(self, node: NodeProto) -> bool:
        """Note a view if only axes of length 1 move."""
        shape = self.shapes[node.input[0]]
        perm = list(node.attribute[0].ints) if node.attribute else list(range(len(shape)))[::-1]
        root = self.root(node.input[0])
        if _in_order(perm, shape):
            self._view(node.output[0], root)
            return True
        source = self.source.get(root.name)
        return source is not None and source.op_type == "Concat" and self._stack(node, source, perm)

    def _stack(self, node: NodeProto, source: NodeProto, perm: list[int]) -> bool:
        """Join tensors along the axis where they have to be, instead of moving this axis afterwards."""
        shape, root = self.shapes[node.input[0]], self.root(node.input[0])
        at = source.attribute[0].i % len(root.shape)
        place = (len(source.input), prod(root.shape[:at]))
        places = [(length, prod(shape[:axis])) for axis, length in enumerate(shape)]
        if root.shape[at] != len(source.input) or place not in places:
            return False
        old = places.index(place)
        part = tuple(1 if axis == old else length for axis, length in enumerate(shape))
        if not _in_order(perm, part):
            return False
        output, shapes = node.output[0], []
        axis = perm.index(old)
        for number in range(len(source.input)):
            name = f"{output}.part{number}"
            self.shapes[name] = tuple(part[one] for one in perm)
            self._view(name, self.root(source.input[number]))
            shapes.append(name)
        self._join(helper.make_node("Concat", shapes, [output], axis=axis))
        return True

    def _rowwise(self, node: NodeProto) -> bool:
        """Write a product with a matrix, or a norm of the last axes, for whatever axes stand in front."""
        shape, root = self.shapes[node.input[0]], self.root(node.input[0])
        if node.op_type == "MatMul":
            last = 1
            if len(self.shapes[node.input[1]]) != 2 or node.input[1] not in self.constants:
                return False
        else:
            axis = next((one.i for one in node.attribute if one.name == "axis"), -1)
            last = len(shape) - axis % len(shape)
        if root.shape[-last:] != shape[-last:] or len(root.shape) <= last or len(node.output) > 1:
            return False
        new = NodeProto()
        new.CopyFrom(node)
        for one in new.attribute:
            if one.name == "axis":
                one.i = -last
        output = self.shapes[node.output[0]]
        lead = _Value(root.name, (*root.shape[:-last], *output[len(output) - last :]))
        self._elementwise(new, [lead, *(_Value(self.shaped(name), ()) for name in node.input[1:])])
        return True

    def _pad(self, node: NodeProto) -> bool:
        """Note a view if nothing is added."""
        pads = self.constants.get(node.input[1])
        if pads is None or pads.any():
            return False
        self._view(node.output[0], self.root(node.input[0]))
        return True

    def _slice(self, node: NodeProto) -> bool:
        """Find the slice among the parts of a concatenation, or before a transposition."""
        bounds = [self.constants.get(name) for name in node.input[1:]]
        shape = self.shapes[node.input[0]]
        if len(bounds) < 3 or any(one is None or one.size != 1 for one in bounds):
            return False
        start, stop, axis, *step = (int(one.reshape(())) for one in bounds if one is not None)
        if step not in ([], [1]):
            return False
        axis %= len(shape)
        start, stop, _ = slice(start, stop).indices(shape[axis])
        return self._part(node, axis, start, stop)

    def _gather(self, node: NodeProto) -> bool:
        """Treat one index as a slice."""
        index = self.constants.get(node.input[1])
        shape = self.shapes[node.input[0]]
        if index is None or index.size != 1:
            return False
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0) % len(shape)
        at = int(index.reshape(())) % shape[axis]
        return self._part(node, axis, at, at + 1)

    def _part(self, node: NodeProto, axis: int, start: int, stop: int) -> bool:
        name, output = node.input[0], node.output[0]
        shape = self.shapes[name]
        if (start, stop) == (0, shape[axis]):
            self._view(output, self.root(name))
            return True
        root = self.root(name)
        source = self.source.get(root.name)
        if source is None:
            return False
        if source.op_type == "Concat":
            return self._piece(
                output, root, source, (prod(shape[axis + 1 :]), shape[axis]), start, stop
            )
        if source.op_type == "Transpose" and root.shape == shape and stop - start == 1:
            return self._before(output, source, axis, start)
        return False

    def _piece(
        self,
        output: str,
        root: _Value,
        source: NodeProto,
        place: tuple[int, int],
        start: int,
        stop: int,
    ) -> bool:
        """Note that a slice is one of the parts of a concatenation along the same axis."""
        axis = source.attribute[0].i % len(root.shape)
        # The same axis, whatever its neighbours of length 1: as many numbers after it, and as long.
        if place != (prod(root.shape[axis + 1 :]), root.shape[axis]):
            return False
        at = 0
        for part in source.input:
            length = self.written_shape(part)[axis]
            if (at, at + length) == (start, stop):
                self._view(output, self.root(part))
                return True
            at += length
        return False

    def written_shape(self, name: str) -> Shape:
        """Return the shape in which a tensor was written."""
        root = self.root(name)
        return root.shape if root.name == name else self.shapes[name]

    def _before(self, output: str, source: NodeProto, axis: int, at: int) -> bool:
        """Take one index before a transposition, if nothing is left to transpose after it."""
        perm = list(source.attribute[0].ints)
        whole = self.written_shape(source.input[0])
        rest = [one for one in perm if one != perm[axis] and whole[one] > 1]
        if rest != sorted(rest):
            return False
        part = f"{source.input[0]}.{perm[axis]}.{at}"
        if part not in self.source:
            bounds = [self._ints((one,)) for one in (at, at + 1, perm[axis])]
            self._put(helper.make_node("Slice", [source.input[0], *bounds], [part]))
            self.shapes[part] = (*whole[: perm[axis]], 1, *whole[perm[axis] + 1 :])
        self._view(output, _Value(part, self.shapes[part]))
        return True

    def _concat(self, node: NodeProto) -> bool:
        self._join(node)
        return True

    def _join(self, node: NodeProto) -> None:
        """Join data in the shape in which they lie, if this shape has an axis with as many numbers before it."""
        shapes = [self.shapes[name] for name in node.input]
        axis = node.attribute[0].i % len(shapes[0])
        before, lengths = prod(shapes[0][:axis]), [shape[axis] for shape in shapes]
        roots = [self.root(name) for name in node.input]
        for lead in dict.fromkeys(root.shape for root in roots if root.name not in self.constants):
            for at, length in enumerate(lead):
                if length != lengths[0] or prod(lead[:at]) != before:
                    continue
                ways = [(*lead[:at], length, *lead[at + 1 :]) for length in lengths]
                if all(prod(way) == prod(shape) for way, shape in zip(ways, shapes, strict=True)):
                    names = [self.shaped(*one) for one in zip(node.input, ways, strict=True)]
                    new = helper.make_node("Concat", names, list(node.output), axis=at)
                    joined = (*lead[:at], sum(lengths), *lead[at + 1 :])
                    values = [_Value(name, joined) for name in names]
                    self._elementwise(new, values)
                    return
        self._write(node, [self.shaped(name) for name in node.input])

    # ------------------------------------------------------------------ the result

    def written(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return the model with the nodes and constants that its outputs need."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.made):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input)
        new = onnx.ModelProto()
        new.CopyFrom(model)
        for part in (new.graph.node, new.graph.initializer, new.graph.value_info):
            del part[:]
        new.graph.node.extend(reversed(kept))
        new.graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
            for name, value in self.constants.items()
            if name in needed
        )
        onnx.checker.check_model(new, full_check=True)
        return new


def _in_order(perm: list[int], shape: Shape) -> bool:
    """Return whether a transposition leaves the data where they are: only axes of length 1 move."""
    moved = [axis for axis in perm if shape[axis] > 1]
    return moved == sorted(moved)

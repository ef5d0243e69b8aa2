"""Make a graph of fixed shapes small: fewer nodes, the same numbers.

For one chunk of one stream, most axes have the length 1, so that a transposition moves nothing and complex numbers are
pairs that are taken apart again. A runtime pays about two microseconds for each such node. Data are left where they
are: a node that only renames axes becomes a view of its input, and a shape is made only for nodes that depend on it.
"""

from collections.abc import Callable
from math import prod

import onnx
from onnx import NodeProto, helper

from rased.export.norms import fold_norms
from rased.export.views import Shape, Value, Views

_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten"})
_UNARY = frozenset({"Sigmoid", "Tanh", "Sqrt", "Relu", "Exp", "Log", "Neg", "Abs", "Sin", "Cos"})
_UNARY |= {"Elu", "LeakyRelu", "Softplus", "Erf", "Reciprocal", "Cast", "Not", "Atan", "Round"}
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Greater", "Less"})
_BINARY |= {"GreaterOrEqual", "LessOrEqual", "Equal", "And", "Or"}


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model with fewer nodes; all of its shapes are fixed."""
    folded = fold_norms(model)
    graph = _Graph(*_Graph.contents(folded))
    graph.simplify()
    return graph.written(model)


class _Graph(Views):
    """The rules that make a graph small."""

    def simplify(self) -> None:
        """Write all nodes that are needed."""
        for node in self.nodes:
            self._take(node)
        for name in self.outputs:
            root = self.root(name)
            if root.name != name:
                self.put(
                    helper.make_node("Reshape", [root.name, self.ints(self.shapes[name])], [name])
                )

    def _take(self, node: NodeProto) -> None:
        """Write a node, or note that its output is a view of something that is there."""
        inputs = [name for name in node.input if name]
        if inputs and all(name in self.constants for name in inputs):
            self.fold(node)
            return
        if not all(name in self.shapes for name in (*inputs, *(n for n in node.output if n))):
            known = [name in self.shapes for name in node.input]
            names = zip(node.input, known, strict=True)
            self.write(node, [self.shaped(name) if shape else name for name, shape in names])
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
            self.view(node.output[0], self.root(node.input[0]))
        elif node.op_type in _UNARY:
            self.elementwise(node, [self.root(node.input[0])])
        elif rule is not None and rule(node):
            pass
        elif node.op_type in _BINARY and self._binary(node):
            pass
        else:
            self.write(node, [self.shaped(name) for name in node.input])

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
            return self._rowwise_binary(node, sizes)
        self.elementwise(node, [Value(name, lead) for name in names])
        return True

    def _rowwise_binary(self, node: NodeProto, sizes: list[int]) -> bool:
        """Write a sum, product and so on of a constant for the last axis, whatever axes stand in front of it."""
        large = sizes.index(max(sizes))
        given, constant = node.input[large], node.input[1 - large]
        root, shape = self.root(given), self.shapes[given]
        last = self.shapes[constant][-1:]
        if constant not in self.constants or min(sizes) != prod(last) or not root.shape:
            return False
        if last != shape[-1:] or last != root.shape[-1:]:
            return False
        names = [self.shaped(constant, last)] * 2
        names[large] = root.name
        # The first one gives its shape to the output.
        values = [Value(name, root.shape) for name in names]
        self.elementwise(node, values)
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
        self.elementwise(new, [self.root(node.input[0])])
        return True

    def _square(self, node: NodeProto) -> bool:
        """Write a square as a product."""
        exponent = self.constants.get(node.input[1])
        if exponent is None or exponent.size != 1 or float(exponent.reshape(())) != 2.0:
            return False
        root = self.root(node.input[0])
        self.elementwise(helper.make_node("Mul", list(node.input), list(node.output)), [root, root])
        return True

    def _transpose(self, node: NodeProto) -> bool:
        """Note a view if only axes of length 1 move."""
        shape = self.shapes[node.input[0]]
        perm = list(node.attribute[0].ints) if node.attribute else list(range(len(shape)))[::-1]
        root = self.root(node.input[0])
        if _in_order(perm, shape):
            self.view(node.output[0], root)
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
            self.view(name, self.root(source.input[number]))
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
        lead = Value(root.name, (*root.shape[:-last], *output[len(output) - last :]))
        self.elementwise(new, [lead, *(Value(self.shaped(name), ()) for name in node.input[1:])])
        return True

    def _pad(self, node: NodeProto) -> bool:
        """Note a view if nothing is added."""
        pads = self.constants.get(node.input[1])
        if pads is None or pads.any():
            return False
        self.view(node.output[0], self.root(node.input[0]))
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
            self.view(output, self.root(name))
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
        root: Value,
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
                self.view(output, self.root(part))
                return True
            at += length
        return False

    def _before(self, output: str, source: NodeProto, axis: int, at: int) -> bool:
        """Take one index before a transposition, if nothing is left to transpose after it."""
        perm = list(source.attribute[0].ints)
        whole = self.written_shape(source.input[0])
        rest = [one for one in perm if one != perm[axis] and whole[one] > 1]
        if rest != sorted(rest):
            return False
        part = f"{source.input[0]}.{perm[axis]}.{at}"
        if part not in self.source:
            bounds = [self.ints((one,)) for one in (at, at + 1, perm[axis])]
            self.put(helper.make_node("Slice", [source.input[0], *bounds], [part]))
            self.shapes[part] = (*whole[: perm[axis]], 1, *whole[perm[axis] + 1 :])
        self.view(output, Value(part, self.shapes[part]))
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
                    values = [Value(name, joined) for name in names]
                    self.elementwise(new, values)
                    return
        self.write(node, [self.shaped(name) for name in node.input])


def _in_order(perm: list[int], shape: Shape) -> bool:
    """Return whether a transposition leaves the data where they are: only axes of length 1 move."""
    moved = [axis for axis in perm if shape[axis] > 1]
    return moved == sorted(moved)

"""Graphs of fixed shapes whose tensors may be views of others: the same data under another shape."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Shape = tuple[int, ...]
Contents = tuple[list[NodeProto], dict[str, np.ndarray], dict[str, Shape], list[str]]


@dataclass
class Value:
    """A tensor that a node wrote, and the shape in which it lies there."""

    name: str
    shape: Shape


@dataclass
class Views:
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
    roots: dict[str, Value] = field(default_factory=dict)
    made: list[NodeProto] = field(default_factory=list)
    source: dict[str, NodeProto] = field(default_factory=dict)
    known: dict[tuple[Any, ...], str] = field(default_factory=dict)

    @staticmethod
    def contents(model: onnx.ModelProto) -> "Contents":
        """Return nodes, constants, shapes and outputs of a model."""
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
        return nodes, constants, shapes, [one.name for one in graph.output]

    def root(self, name: str) -> Value:
        """Return the tensor that holds the data of this one."""
        return self.roots.get(name) or Value(name, self.shapes.get(name, ()))

    def fold(self, node: NodeProto) -> None:
        """Compute a node that depends on nothing but constants."""
        results = ReferenceEvaluator(node).run(
            None, {name: self.constants[name] for name in node.input if name}
        )
        for name, value in zip(node.output, results, strict=True):
            self.constants[name] = np.asarray(value)
            self.shapes[name] = self.constants[name].shape

    def view(self, name: str, root: Value) -> None:
        """Note that a tensor has the data of another."""
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
            self.put(helper.make_node("Reshape", [root.name, self.ints(wanted)], [output]))
            self.roots[output] = root
        return output

    def write(self, node: NodeProto, inputs: list[str]) -> None:
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
        self.put(new)

    def put(self, node: NodeProto) -> None:
        """Add a node to the result."""
        self.made.append(node)
        self.source.update(dict.fromkeys(node.output, node))

    def ints(self, values: Shape) -> str:
        """Return a constant with these whole numbers."""
        name = f"ints.{'x'.join(map(str, values)) or 'none'}"
        self.constants[name] = np.asarray(values, dtype=np.int64)
        return name

    def elementwise(self, node: NodeProto, roots: list[Value]) -> None:
        """Write a node that does not depend on the shape of its data, in the shape of its first input."""
        output, shape = node.output[0], roots[0].shape
        logical = self.shapes[output]
        self.write(node, [root.name for root in roots])
        if output in self.roots:  # it was there already
            return
        if output in self.outputs and shape != logical:
            inner = f"{output}.inner"
            self.made[-1].output[0] = inner
            self.source[inner] = self.source.pop(output)
            self.shapes[inner] = shape
            self.roots[output] = Value(inner, shape)
        else:
            self.shapes[output] = logical
            self.roots[output] = Value(output, shape)

    def written_shape(self, name: str) -> Shape:
        """Return the shape in which a tensor was written."""
        root = self.root(name)
        return root.shape if root.name == name else self.shapes[name]

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

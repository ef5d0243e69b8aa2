"""Law: a simplified graph gives the numbers of the graph that it was made from."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from rased.export.simplify import simplify


class Builder:
    """Writes a random graph of operators that move data, and of some that compute."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.shapes = [], [], {}

    def add(self, kind, inputs, shape, **attributes):
        name = f"v{len(self.shapes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        self.shapes[name] = tuple(shape)
        return name

    def constant(self, values):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def ints(self, *values):
        return self.constant(np.asarray(values, dtype=np.int64))

    def grow(self):
        name = str(
            self.random.choice([n for n, shape in self.shapes.items() if np.prod(shape) <= 400])
        )
        shape = self.shapes[name]
        axis = int(self.random.integers(len(shape)))
        getattr(self, self.random.choice(RULES))(name, list(shape), axis)

    def transpose(self, name, shape, axis):
        perm = [int(one) for one in self.random.permutation(len(shape))]
        self.add("Transpose", [name], [shape[one] for one in perm], perm=perm)

    def unsqueeze(self, name, shape, axis):
        if len(shape) < 5:
            self.add("Unsqueeze", [name, self.ints(axis)], [*shape[:axis], 1, *shape[axis:]])

    def reshape(self, name, shape, axis):
        if axis + 1 < len(shape):
            new = [*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]]
            self.add("Reshape", [name, self.ints(*new)], new)

    def slice(self, name, shape, axis):
        start = int(self.random.integers(shape[axis]))
        stop = int(self.random.integers(start, shape[axis])) + 1
        bounds = [self.ints(start), self.ints(stop), self.ints(axis)]
        self.add("Slice", [name, *bounds], [*shape[:axis], stop - start, *shape[axis + 1 :]])

    def gather(self, name, shape, axis):
        if len(shape) > 1:
            index = self.constant(np.asarray(self.random.integers(shape[axis]), dtype=np.int64))
            self.add("Gather", [name, index], [*shape[:axis], *shape[axis + 1 :]], axis=axis)

    def stack(self, name, shape, axis):
        same = [other for other, one in self.shapes.items() if list(one) == shape]
        parts = [name, *map(str, self.random.choice(same, 2))]
        self.add("Concat", parts, [*shape[:axis], 3 * shape[axis], *shape[axis + 1 :]], axis=axis)

    def complexes(self, name, shape, axis):
        """The parts of a complex number, side by side, moved and taken apart again."""
        if len(shape) < 5:
            pair = [self.add("Unsqueeze", [name, self.ints(-1)], [*shape, 1]) for _ in range(2)]
            pair[1] = self.add("Neg", [pair[1]], [*shape, 1])
            whole = self.add("Concat", pair, [*shape, 2], axis=-1)
            perm = [*range(len(shape))[::-1], len(shape)]
            moved = self.add("Transpose", [whole], [*shape[::-1], 2], perm=perm)
            index = self.constant(np.asarray(self.random.integers(2), dtype=np.int64))
            self.add("Gather", [moved, index], shape[::-1], axis=len(shape))

    def unary(self, name, shape, axis):
        self.add(str(self.random.choice(["Sigmoid", "Neg", "Abs"])), [name], shape)

    def binary(self, name, shape, axis):
        same = [other for other, one in self.shapes.items() if list(one) == shape]
        other = (
            self.constant(np.float32([0.5]))
            if self.random.random() < 0.3
            else str(self.random.choice(same))
        )
        self.add(str(self.random.choice(["Add", "Mul"])), [name, other], shape)

    def bias(self, name, shape, axis):
        values = self.random.standard_normal(shape[-1:]).astype(np.float32)
        sides = [name, self.constant(values)]
        if self.random.random() < 0.5:
            sides.reverse()
        self.add(str(self.random.choice(["Add", "Sub", "Mul"])), sides, shape)

    def square(self, name, shape, axis):
        self.add("Pow", [name, self.constant(np.float32(2.0))], shape)

    def slope(self, name, shape, axis):
        self.add("PRelu", [name, self.constant(np.full((1,), 0.2, np.float32))], shape)

    def matmul(self, name, shape, axis):
        weights = self.random.standard_normal((shape[-1], 3)).astype(np.float32) / 4
        self.add("MatMul", [name, self.constant(weights)], [*shape[:-1], 3])

    def norm(self, name, shape, axis):
        scale = self.constant(np.ones(shape[axis:], np.float32))
        self.add("LayerNormalization", [name, scale], shape, axis=axis)

    def model(self, starts):
        ends = list(self.shapes)[-4:]
        values = {
            name: helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shapes[name])
            for name in {*starts, *ends}
        }
        graph = helper.make_graph(
            self.nodes,
            "random",
            [values[n] for n in starts],
            [values[n] for n in ends],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


RULES = [name for name in vars(Builder) if name not in {"add", "constant", "ints", "grow", "model"}]
RULES = [name for name in RULES if not name.startswith("_")]


@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph_keeps_its_numbers(seed):
    builder = Builder(seed)
    starts = {"v0": (1, 4, 1, 3), "v1": (1, 1, 6), "v2": (2, 3)}
    builder.shapes |= starts
    for _ in range(14):
        builder.grow()
    model = builder.model(list(starts))
    small = simplify(model)
    feeds = {
        name: builder.random.standard_normal(shape).astype(np.float32)
        for name, shape in starts.items()
    }
    wanted, found = (
        onnxruntime.InferenceSession(one.SerializeToString()).run(None, feeds)
        for one in (model, small)
    )
    for left, right in zip(wanted, found, strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-5, atol=1e-5)
    assert len(small.graph.node) <= len(model.graph.node) + len(small.graph.output)


def test_what_only_renames_axes_and_takes_apart_complex_numbers_goes_away():
    builder = Builder(0)
    builder.shapes["v0"] = (1, 1, 5)
    real = builder.add("Unsqueeze", ["v0", builder.ints(-1)], (1, 1, 5, 1))
    pair = builder.add("Concat", [real, real], (1, 1, 5, 2), axis=-1)
    moved = builder.add("Transpose", [pair], (1, 5, 1, 2), perm=[0, 2, 1, 3])
    part = builder.add("Gather", [moved, builder.constant(np.int64(0))], (1, 5, 1), axis=3)
    builder.add("Sigmoid", [part], (1, 5, 1))
    model = builder.model(["v0"])
    del model.graph.output[:-1]
    assert [node.op_type for node in simplify(model).graph.node] == ["Sigmoid", "Reshape"]


def test_a_sum_with_a_row_takes_the_shape_in_which_the_data_are():
    builder = Builder(0)
    builder.shapes["v0"] = (4, 3)
    wide = builder.add("Unsqueeze", ["v0", builder.ints(0)], (1, 4, 3))
    moved = builder.add("Add", [builder.constant(np.float32([1, 2, 3])), wide], (1, 4, 3))
    builder.add("Reshape", [moved, builder.ints(4, 3)], (4, 3))
    model = builder.model(["v0"])
    del model.graph.output[:-1]
    assert [node.op_type for node in simplify(model).graph.node] == ["Add", "Reshape"]


def test_a_graph_checks():
    builder = Builder(3)
    builder.shapes["v0"] = (2, 3)
    builder.add("Sigmoid", ["v0"], (2, 3))
    model = simplify(builder.model(["v0"]))
    onnx.checker.check_model(model, full_check=True)  # raises
    assert [node.op_type for node in model.graph.node] == ["Sigmoid"]


def _normalised(builder, kind, groups, *, between):
    """A convolution of 4 to 6 channels, and its normalisation; the name of what is between them."""
    builder.shapes["v0"] = (1, 4, 3, 5)
    random = builder.random
    size = (6, 4 // groups, 1, 3) if kind == "Conv" else (4, 6 // groups, 1, 3)
    weights = [builder.constant(random.standard_normal(size).astype(np.float32))]
    if random.random() < 0.5:
        weights.append(builder.constant(random.standard_normal(6).astype(np.float32)))
    freq = 3 if kind == "Conv" else 7
    name = builder.add(kind, ["v0", *weights], (1, 6, 3, freq), group=groups)
    if between:
        bounds = [builder.ints(1), builder.ints(3), builder.ints(3)]
        name = builder.add("Slice", [name, *bounds], (1, 6, 3, 2))
    facts = np.abs(random.standard_normal((4, 6))).astype(np.float32) + 0.1
    given = [name, *(builder.constant(one) for one in facts)]
    builder.add("BatchNormalization", given, builder.shapes[name], epsilon=1e-3)
    return name


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("heard", [False, True])
def test_a_normalisation_goes_into_the_convolution_unless_something_else_hears_it(
    kind, groups, between, heard
):
    builder = Builder(groups)
    name = _normalised(builder, kind, groups, between=between)
    if heard:
        builder.add("Sigmoid", [name], builder.shapes[name])
    model = builder.model(["v0"])
    del model.graph.output[:]
    for node in builder.nodes[-2:] if heard else builder.nodes[-1:]:
        shape = builder.shapes[node.output[0]]
        model.graph.output.append(
            helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape)
        )
    small = simplify(model)
    feeds = {"v0": builder.random.standard_normal((1, 4, 3, 5)).astype(np.float32)}
    wanted, found = (
        onnxruntime.InferenceSession(one.SerializeToString()).run(None, feeds)
        for one in (model, small)
    )
    for left, right in zip(wanted, found, strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-5, atol=1e-5)
    kinds = [node.op_type for node in small.graph.node]
    assert ("BatchNormalization" in kinds) == heard

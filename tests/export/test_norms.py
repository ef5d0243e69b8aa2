"""Batch normalisations are folded where this changes nothing, and stay where it would."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rased.export.norms import fold_norms
from rased.onnx.runtime import session_of

CONV = ("Conv", ["x", "w"], "c", {})
RELU = ("Relu", ["c"], "z", {})
PRODUCT = ("MatMul", ["x", "matrix"], "c", {})


def rows(name, out):
    return ("Reshape", [name, "rows"], out, {})


def norm(name, out):
    return ("BatchNormalization", [name, "scale", "shift", "mean", "variance"], out, {})


def cut(*inputs):
    return ("Slice", ["c", "first", "last", *inputs], "d", {})


def graph(nodes, outputs, weights):
    """A graph of nodes (operator, inputs, output, attributes)."""
    made = [helper.make_node(kind, given, [out], **more) for kind, given, out, more in nodes]
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 10])
    ends = [helper.make_tensor_value_info(one, TensorProto.FLOAT, None) for one in outputs]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    body = helper.make_graph(made, "graph", [shape], ends, constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("nodes", "outputs", "left"),
    [
        pytest.param([CONV, norm("c", "y")], ["y"], 0, id="convolution"),
        pytest.param(
            [("Conv", ["x", "halves", "bias"], "c", {"group": 2}), norm("c", "y")],
            ["y"],
            0,
            id="groups",
        ),
        pytest.param(
            [("ConvTranspose", ["x", "up", "bias"], "c", {"group": 2}), norm("c", "y")],
            ["y"],
            0,
            id="transposed groups",
        ),
        pytest.param([CONV, cut("time"), norm("d", "y")], ["y"], 0, id="cut in time"),
        pytest.param([CONV, norm("c", "d"), norm("d", "y")], ["y"], 0, id="two after each other"),
        pytest.param(
            [CONV, norm("c", "y"), ("Conv", ["x", "w"], "z", {})],
            ["y", "z"],
            0,
            id="shared weights",
        ),
        pytest.param([CONV, cut("channels"), norm("d", "y")], ["y"], 1, id="cut in channels"),
        pytest.param(
            [CONV, cut("last axis but one"), norm("d", "y")], ["y"], 1, id="cut from behind"
        ),
        pytest.param([CONV, norm("c", "y"), RELU], ["y", "z"], 1, id="seen by another node"),
        pytest.param([CONV, norm("c", "y")], ["y", "c"], 1, id="seen from outside"),
        pytest.param([PRODUCT, rows("c", "r"), norm("r", "y")], ["y"], 0, id="rows of a product"),
        pytest.param(
            [PRODUCT, rows("c", "r"), norm("r", "d"), norm("d", "y")],
            ["y"],
            1,
            id="rows of a product, twice",
        ),
        pytest.param(
            [PRODUCT, rows("c", "r"), norm("r", "y")], ["y", "c"], 1, id="product seen from outside"
        ),
        pytest.param(
            [PRODUCT, ("Reshape", ["c", "others"], "r", {}), norm("r", "y")],
            ["y"],
            1,
            id="other rows",
        ),
        pytest.param([CONV, RELU, norm("z", "y")], ["y"], 1, id="another operator between"),
    ],
)
def test_the_output_stays(nodes, outputs, left):
    random = np.random.default_rng(3)
    two = ("channels", "last axis but one", "others")
    channels = 2 if any(name in nodes[1][1] for name in two) else 6
    sizes = {"w": (6, 4, 3), "halves": (6, 2, 3), "up": (4, 3, 3), "bias": (6,), "matrix": (10, 6)}
    sizes |= dict.fromkeys(("scale", "shift", "mean", "variance"), (channels,))
    weights = {
        name: random.standard_normal(size).astype(np.float32) for name, size in sizes.items()
    }
    weights["variance"] = np.abs(weights["variance"]) + np.float32(0.1)
    places = {"first": 1, "last": 3, "time": 2, "channels": 1, "last axis but one": -2}
    weights |= {name: np.array([place]) for name, place in places.items()}
    weights |= {"rows": np.array([4, 6]), "others": np.array([12, 2])}
    used = {name for _, given, _, _ in nodes for name in given}
    model = graph(nodes, outputs, {name: weights[name] for name in weights if name in used})
    folded = fold_norms(model)
    assert [node.op_type for node in folded.graph.node].count("BatchNormalization") == left
    noisy = {"x": random.standard_normal((1, 4, 10)).astype(np.float32)}
    before, after = (
        session_of(one.SerializeToString()).run(None, noisy) for one in (model, folded)
    )
    for wanted, found in zip(before, after, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)

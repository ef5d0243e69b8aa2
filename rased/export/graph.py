"""The step of a causal enhancer as an ONNX graph: waveform and state in, waveform and state out."""

import io
import json
import logging
import warnings
from typing import Any

import onnx
import torch

from rased.errors import RasedError, cut
from rased.export.simplify import simplify
from rased.export.step import Step, Together, refuse, stacked
from rased.models.base import Enhancer
from rased.onnx.runtime import NEXT


@torch.no_grad()
def step_graph(enhancer: Enhancer, name: str, streams: int = 1) -> onnx.ModelProto:
    """Return the graph of one chunk: inputs `chunk` and the state, outputs `estimate` and NAME.next.

    Args:
        enhancer: a causal enhancer.
        name: its name, for messages.
        streams: how many streams get a chunk at once; if several, each tensor of the state has one more axis in front.

    Raises:
        RasedError: an operation of the model has no counterpart in ONNX.
    """
    refuse(enhancer, name)
    assert enhancer.chunk_length is not None
    state = stacked([enhancer.initial_state()] * streams)
    chunk = torch.zeros(streams, enhancer.chunk_length)
    step = Step(enhancer) if streams == 1 else Together(enhancer, streams)
    file = io.BytesIO()
    try:
        with _quiet():
            program = torch.export.export(step, (chunk, state), strict=False)
            _without_aliases(program.graph_module.graph)
            _with_floors(program.graph_module.graph)
            made: Any = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["chunk", *state],
                output_names=["estimate", *(f"{leaf}{NEXT}" for leaf in state)],
            )
            made.save(file)
    except Exception as error:  # the exporters raise what the operators raise
        reason = cut(" ".join(str(error).split()), 200)
        raise RasedError(f"'{name}' cannot be exported: {type(error).__name__}: {reason}") from None
    return simplify(onnx.load_from_string(file.getvalue()))


def _with_floors(graph: torch.fx.Graph) -> None:
    """Make vectors of small terms: the exporter's optimiser takes a scalar of at most 1e-8 for zero, and drops it."""
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.add.Tensor or not isinstance(node.args[1], float):
            continue
        term = node.args[1]
        if not 0 < abs(term) <= 1e-8:
            continue
        with graph.inserting_before(node):
            vector = graph.call_function(torch.ops.aten.full.default, ([1], term))
        with node.meta["val"].fake_mode:
            vector.meta["val"] = torch.full([1], term)
        node.update_arg(1, vector)


def _without_aliases(graph: torch.fx.Graph) -> None:
    """Remove nodes that return their input: there is no such operator for complex numbers in ONNX."""
    last = graph.output_node()
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.alias.default and last not in node.users:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


class _quiet(warnings.catch_warnings):  # noqa: N801 (a context, as the one that it extends)
    """Silence what the exporters say about themselves."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)


def describe(model: onnx.ModelProto, facts: dict[str, Any]) -> None:
    """Write the facts into the metadata of a graph: one by one, and as JSON under "rased"."""
    plain = {key: value for key, value in facts.items() if isinstance(value, str | int | float)}
    del model.metadata_props[:]
    onnx.helper.set_model_props(
        model,
        {
            **{key: str(value) for key, value in plain.items()},
            "rased": json.dumps(facts, allow_nan=False),
        },
    )
    model.producer_name, model.producer_version = "rased", facts["rased_version"]
    model.graph.name = facts["name"]

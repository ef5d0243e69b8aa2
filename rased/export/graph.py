"""The step of a causal enhancer as an ONNX graph: waveform and state in, waveform and state out."""

import io
import json
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError, cut
from rased.export.simplify import simplify
from rased.models.base import Enhancer, State

NEXT = ".next"
"""Suffix of the outputs that are the state of the next chunk."""

Chunk = Float[Tensor, "1 chunk"]


class Step(nn.Module):
    """`Enhancer.step` as the forward pass of a module."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.enhancer = enhancer

    def forward(self, chunk: Chunk, state: State) -> tuple[Chunk, State]:
        """Enhance a chunk."""
        return self.enhancer.step(chunk, state)


def refuse(enhancer: Enhancer, name: str) -> None:
    """Check that a graph of one chunk can do all that the enhancer does.

    Raises:
        RasedError: it cannot, with the reason.
    """
    if not enhancer.causal:
        raise RasedError(
            f"'{name}' cannot be exported: it needs the whole recording, and a graph gets one chunk at a time. "
            "Choose a causal checkpoint (`rased zoo list`)."
        )
    if enhancer.conditions:
        raise RasedError(
            f"'{name}' cannot be exported: besides the waveform it needs {', '.join(enhancer.conditions)}, which no "
            "input of the graph carries."
        )
    if enhancer.channels > 1:
        raise RasedError(
            f"'{name}' cannot be exported: it takes {enhancer.channels} microphones, and the graph has one input."
        )


@torch.no_grad()
def step_graph(enhancer: Enhancer, name: str) -> onnx.ModelProto:
    """Return the graph of one chunk: inputs `chunk` and the state, outputs `estimate` and NAME.next.

    Raises:
        RasedError: an operation of the model has no counterpart in ONNX.
    """
    refuse(enhancer, name)
    assert enhancer.chunk_length is not None
    state = enhancer.initial_state()
    chunk = torch.zeros(1, enhancer.chunk_length)
    file = io.BytesIO()
    try:
        with _quiet():
            program = torch.export.export(Step(enhancer), (chunk, state), strict=False)
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


class _quiet(warnings.catch_warnings):  # noqa: N801 (a context, as the one that it extends)
    """Silence what the exporters say about themselves."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)


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


def starts(state: State) -> dict[str, dict[str, Any]]:
    """Return shape and first value of each tensor of a state; values that differ are listed.

    JSON has no infinity: it is written as the word that JavaScript and Python read as a number.
    """
    found = {}
    for name, tensor in state.items():
        values = [_word(value) for value in tensor.flatten().tolist()]
        found[name] = {
            "shape": list(tensor.shape),
            "start": values[0] if len(set(values)) == 1 else values,
        }
    return found


def _word(value: float) -> float | str:
    if np.isfinite(value):
        return float(value)
    assert not np.isnan(value), "a state cannot begin with NaN"
    return "Infinity" if value > 0 else "-Infinity"


@torch.no_grad()
def random_state(enhancer: Enhancer, seed: int) -> State:
    """Return a state that sound has led to, every number of it then scaled and shifted at random."""
    assert enhancer.chunk_length is not None
    generator = torch.Generator().manual_seed(seed)
    heard = 0.1 * torch.randn(1, 8 * enhancer.chunk_length, generator=generator)
    _, state = enhancer.step(heard, enhancer.initial_state())
    return {
        name: tensor * (0.5 + torch.rand(tensor.shape, generator=generator))
        + 0.1 * torch.rand(tensor.shape, generator=generator)
        for name, tensor in state.items()
    }

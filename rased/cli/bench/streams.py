"""Measure how many live streams one core holds: each has a chunk ready when the next one arrives."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rased.cli.bench.chunks import graph_of, opened
from rased.cli.options import add_value
from rased.errors import RasedError
from rased.shelves import DEFAULT_MODEL

EXAMPLES = f"""\
examples:
  rased bench streams                            {DEFAULT_MODEL} in ONNX Runtime, a minute
  rased bench streams --model NAME --seconds 10
  rased bench streams --together 16              graphs of 1 and of 16 streams (`rased export --streams 16`)

All streams get a chunk at once, and all must be enhanced before the next chunk arrives. Counted is the time of the
processor, so that other processes have little effect. The number of streams is the largest of which no chunk was late.
One graph of several streams costs less than as many graphs of one.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench streams`."""
    parser.epilog = EXAMPLES
    add_value(parser, "--seconds", "S", 60.0, "length of each stream in seconds")
    add_value(parser, "--model", "NAME", DEFAULT_MODEL, "name or folder of a causal checkpoint")
    add_value(parser, "--together", "N", 8, "streams of the other graph that is measured")


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the number of streams, and the share of a core that each takes: one in a graph, and several.

    Raises:
        RasedError: the checkpoint cannot be exported.
    """
    checkpoint = opened(arguments.model)
    if checkpoint.exported is None:
        raise RasedError(checkpoint.reason)
    name, together = Path(arguments.model).name, arguments.together
    found = {name: _held(checkpoint.exported, arguments.seconds)}
    if together > 1 and checkpoint.content:
        several = graph_of(checkpoint.enhancer, name, streams=together)[0]
        found[f"{name}, {together} in a graph"] = _held(several, arguments.seconds)
    return found


def _held(exported: Any, seconds: float) -> dict[str, Any]:
    """Return how many streams one core holds, by graphs that take one or several of them."""
    deadline = exported.chunk_length / exported.sample_rate
    rounds = max(1, round(seconds / deadline))
    usual = np.median(list(_rounds(exported, 1, 200, np.inf)))
    graphs = max(1, int(0.95 * deadline / usual))
    while True:
        costs = np.array(list(_rounds(exported, graphs, rounds, deadline)))
        late = int((costs > deadline).sum())
        if not late or graphs == 1:
            break
        graphs -= max(1, graphs // 20)
    streams = graphs * exported.streams
    return {
        "streams": 0 if late else streams,
        "chunk_ms": 1000 * deadline,
        "percent_of_a_core_each": float(100 * costs.mean() / deadline / streams),
        "slowest_round_ms": float(1000 * costs.max()),
        "rounds": len(costs),
    }


def _rounds(exported: Any, graphs: int, rounds: int, deadline: float) -> Iterator[float]:
    """Yield the processor seconds of each round, in which every stream gets a chunk; end after one that is late."""
    random = np.random.default_rng(0)
    rows = [exported.streams] if exported.streams > 1 else []
    noise = 0.1 * random.standard_normal((64, *rows, exported.chunk_length), dtype=np.float32)
    states = [exported.initial_state() for _ in range(graphs)]
    for number in range(-3, rounds):  # the first ones warm up
        started = time.process_time()
        for graph in range(graphs):
            chunk = noise[(number + 7 * graph) % 64]
            _, states[graph] = exported.step(chunk, states[graph])
        cost = time.process_time() - started
        if number >= 0:
            yield cost
            if cost > deadline:
                return

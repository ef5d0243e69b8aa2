"""Measure how many live streams one core holds: each has a chunk ready when the next one arrives."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rased.cli.bench.chunks import opened
from rased.cli.bench.costs import costs_of
from rased.cli.options import add_value
from rased.errors import RasedError
from rased.shelves import DEFAULT_MODEL

EXAMPLES = f"""\
examples:
  rased bench streams                            {DEFAULT_MODEL} in ONNX Runtime, a minute
  rased bench streams --model NAME --seconds 10

All streams get a chunk at once, and all must be enhanced before the next chunk arrives. Counted is the time of the
processor, so that other processes have little effect. The number of streams is the largest of which no chunk was late.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench streams`."""
    parser.epilog = EXAMPLES
    add_value(parser, "--seconds", "S", 60.0, "length of each stream in seconds")
    add_value(parser, "--model", "NAME", DEFAULT_MODEL, "name or folder of a causal checkpoint")


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the number of streams, and the share of a core that each takes.

    Raises:
        RasedError: the checkpoint cannot be exported.
    """
    checkpoint = opened(arguments.model)
    exported = checkpoint.exported
    if exported is None:
        raise RasedError(checkpoint.reason)
    length = exported.chunk_length
    deadline = length / exported.sample_rate
    rounds = max(1, round(arguments.seconds / deadline))
    usual = float(np.median(costs_of(exported.step, exported.initial_state(), length, 200)))
    streams = max(1, int(0.95 * deadline / usual))
    while True:
        costs = np.array(list(_rounds(exported, streams, rounds, deadline)))
        late = int((costs > deadline).sum())
        if not late or streams == 1:
            break
        streams -= max(1, streams // 20)
    return {
        Path(arguments.model).name: {
            "streams": 0 if late else streams,
            "chunk_ms": 1000 * deadline,
            "percent_of_a_core_each": float(100 * costs.mean() / deadline / streams),
            "slowest_round_ms": float(1000 * costs.max()),
            "rounds": len(costs),
        }
    }


def _rounds(exported: Any, streams: int, rounds: int, deadline: float) -> Iterator[float]:
    """Yield the processor seconds of each round, in which every stream gets a chunk; end after one that is late."""
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal((64, exported.chunk_length))).astype(np.float32)
    states = [exported.initial_state() for _ in range(streams)]
    for number in range(-3, rounds):  # the first ones warm up
        started = time.process_time()
        for stream in range(streams):
            chunk = noise[(number + 7 * stream) % 64]
            _, states[stream] = exported.step(chunk, states[stream])
        cost = time.process_time() - started
        if number >= 0:
            yield cost
            if cost > deadline:
                return

"""Measure speed and memory on this machine."""

import argparse
import json
import math
from types import ModuleType
from typing import Any

from rased.cli.bench import evaluate as bench_evaluate
from rased.cli.bench import frames as bench_frames
from rased.cli.bench import inference as bench_inference
from rased.cli.bench import loader as bench_loader
from rased.cli.bench import memory as bench_memory
from rased.cli.bench import models as bench_models
from rased.cli.bench import resume as bench_resume
from rased.cli.bench import streams as bench_streams
from rased.cli.bench import train as bench_train
from rased.cli.options import add_json
from rased.errors import ProblemsFound, RasedError

EXAMPLES = """\
examples:
  rased bench loader                         data loading: audio seconds per CPU second
  rased bench frames                         frame features: audio seconds per CPU second, writing and reading
  rased bench memory                         peak memory of long jobs, and how it grows with the input
  rased bench resume                         cost of resuming in the middle of an epoch
  rased bench train --model gtcrn            training: audio seconds per CPU second, against a plain loop
  rased bench models --model gtcrn           cost of architectures: training, inference, memory
  rased bench inference                      real-time factor of every checkpoint, on one thread
  rased bench streams                        live streams that one core holds
  rased bench evaluate                       gain of processes and batches in an evaluation
  rased bench VERB --help                    options of a benchmark, with examples
"""

VERBS: dict[str, tuple[ModuleType, str]] = {
    "loader": (bench_loader, "audio seconds per CPU second, from shards to mixtures"),
    "frames": (bench_frames, "audio seconds per CPU second, writing and reading frame features"),
    "memory": (bench_memory, "peak memory of long jobs"),
    "resume": (bench_resume, "CPU seconds to the first batch when resuming within an epoch"),
    "train": (bench_train, "speed and memory of training, and what the trainer costs"),
    "models": (bench_models, "speed and memory of the architectures, for `rased models`"),
    "inference": (
        bench_inference,
        "real-time factor of the checkpoints, in PyTorch, ONNX Runtime and LiteRT",
    ),
    "streams": (bench_streams, "number of live streams that one core holds"),
    "evaluate": (
        bench_evaluate,
        "duration of an evaluation with one and two processes, and with batches",
    ),
}
"""Each module defines `add_arguments(parser)` and `measure(arguments) -> {job: {key: value}}`, or {job: value}."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmarks of `rased bench`."""
    parser.epilog = EXAMPLES
    verbs = parser.add_subparsers(dest="sub_verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(verb)
        add_json(verb, "the figures")


def run(arguments: argparse.Namespace) -> int:
    """Run one benchmark and print its figures.

    Raises:
        ProblemsFound: some measurements failed; the others are printed.
        RasedError: a number is not positive.
    """
    _check_numbers(arguments)
    figures = VERBS[arguments.sub_verb][0].measure(arguments)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        for job, values in figures.items():
            if isinstance(values, dict):
                values = "  ".join(f"{key} {_short(value)}" for key, value in values.items())
            print(f"{job}: {_short(values)}")
    failed = [
        job for job, values in figures.items() if isinstance(values, dict) and "failed" in values
    ]
    if failed:
        raise ProblemsFound(
            f"{len(failed)} of {len(figures)} measurements failed: {', '.join(failed)}."
        )
    return 0


def _check_numbers(arguments: argparse.Namespace) -> None:
    """Check that all numbers are positive: each is a size, a length or a count of what is measured."""
    for name, value in vars(arguments).items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and not 0 < value < math.inf:  # a bool is an int
            least = "1 or more" if isinstance(value, int) else "more than 0"
            raise RasedError(f"--{name.replace('_', '-')} is {value:g}: give {least}.")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

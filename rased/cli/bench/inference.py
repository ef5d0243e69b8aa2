"""Measure the real-time factor of checkpoints: processing seconds per second of audio, on one thread."""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from rased.cli.options import add_value

EXAMPLES = """\
examples:
  rased bench inference                      every checkpoint of the zoo
  rased bench inference --model NAME --json

A real-time factor below 1 is faster than real time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench inference`."""
    parser.epilog = EXAMPLES
    add_value(parser, "--seconds", "S", 10.0, "length of the audio in seconds")
    parser.add_argument("--model", help="name or folder of a checkpoint (default: all)")


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return real-time factors on one thread: whole files, and chunk by chunk for causal models."""
    import torch

    from rased.zoo import list_checkpoints, load
    from rased.zoo.loading import streamed

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, Any]] = {}
    try:
        for name in [arguments.model] if arguments.model else list_checkpoints():
            enhancer = load(name)
            generator = torch.Generator().manual_seed(0)
            samples = round(arguments.seconds * enhancer.sample_rate)
            noisy = 0.1 * torch.randn(1, samples, generator=generator)
            values: dict[str, Any] = {
                "file": _factor(lambda: enhancer(noisy), arguments.seconds)  # noqa: B023
            }
            if enhancer.chunk_length is not None:
                stream = _factor(lambda: streamed(enhancer, noisy), arguments.seconds)  # noqa: B023
                chunk = enhancer.chunk_length / enhancer.sample_rate
                values |= {"stream": stream, "chunk_ms": 1000 * chunk}
            figures[Path(name).name] = values
    finally:
        torch.set_num_threads(threads)
    return figures


def _factor(work: Any, seconds: float) -> float:
    """Return the median of three runs, after one warm-up run."""
    import torch

    times = []
    with torch.inference_mode():
        # The first run warms up caches and memory, and does not count.
        for _ in range(4):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) / seconds

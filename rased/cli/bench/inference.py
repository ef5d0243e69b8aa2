"""Measure the real-time factor of checkpoints on one thread: in PyTorch, and as graphs in ONNX Runtime and LiteRT."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rased.cli.bench.chunks import figures_of, opened
from rased.cli.options import add_value

EXAMPLES = """\
examples:
  rased bench inference                      every checkpoint of the zoo
  rased bench inference --model NAME --json

  file      PyTorch, a file in one piece
  stream    PyTorch, chunk by chunk
  onnx      ONNX Runtime, chunk by chunk, exported as by `rased export`
  litert    LiteRT, chunk by chunk, if the environment of its converter is there (`rased export --to litert`);
            converting a checkpoint takes up to minutes
These are real-time factors: processor seconds for a second of audio; below 1 is faster than real time. p50 and p99 are
median and 99th percentile of the processor time of a chunk. A sentence instead of a figure says why there is none. For
a folder that `rased export` wrote, file and onnx are both measured in ONNX Runtime.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench inference`."""
    parser.epilog = EXAMPLES
    add_value(parser, "--seconds", "S", 10.0, "length of the audio in seconds")
    parser.add_argument("--model", help="name or folder of a checkpoint (default: all)")


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return real-time factors on one thread: whole files, and chunk by chunk for causal models."""
    import torch

    from rased.zoo import list_checkpoints

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, Any]] = {}
    try:
        for name in [arguments.model] if arguments.model else list_checkpoints():
            checkpoint = opened(name)
            enhancer = checkpoint.enhancer
            generator = torch.Generator().manual_seed(0)
            samples = round(arguments.seconds * enhancer.sample_rate)
            noisy = 0.1 * torch.randn(1, samples, generator=generator)
            file = _factor(lambda: enhancer(noisy), arguments.seconds)  # noqa: B023
            chunks = (
                figures_of(checkpoint, arguments.seconds)
                if enhancer.causal
                else {"stream": "it is not causal, and needs whole recordings"}
            )
            figures[Path(name).name] = {"file": file, **chunks}
    finally:
        torch.set_num_threads(threads)
    return figures


def _factor(work: Callable[[], Any], seconds: float) -> float:
    """Return the median of three runs in processor seconds, after one warm-up run."""
    import torch

    times = []
    with torch.inference_mode():
        # The first run warms up caches and memory, and does not count.
        for _ in range(4):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
    return statistics.median(times[1:]) / seconds

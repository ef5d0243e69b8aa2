"""Measure the architectures of configs/model: speed of training and inference, and memory, on one thread."""

import argparse
import logging
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rased.cli.bench.train import matching, step_memory, training_speed
from rased.errors import RasedError
from rased.machine import processor
from rased.parallel import forked

EXAMPLES = """\
examples:
  rased bench models --model '*-small' --json                   print the figures of some architectures
  rased bench models --out rased/models/figures.json            write those that `rased models` shows

Each architecture is measured in its own process, untrained, in float32 and on one thread.
  training_speed    seconds of audio that `rased train` processes in a processor second: one mixture of 2 s in a batch
  training_memory_mb_per_second  peak memory that each further second of audio in a batch adds to a step of training
  real_time_factor  processor seconds for a second of audio: a file of 10 s in one piece
  memory_mb         memory that building the model and enhancing this file add to a process with PyTorch
With --out, figures are added to the file after each architecture. Those of the same configuration and processor are
kept, so an interrupted command continues; --again measures them anew.
"""

SECONDS = 10.0
LENGTHS = (1.0, 3.0)
"""Seconds of audio in the two steps of training whose peaks of memory are compared."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench models`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--model", nargs="+", metavar="NAME", help="architectures or patterns (default: all)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to update with the figures")
    parser.add_argument(
        "--again", action="store_true", help="measure also what the file has already"
    )


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the figures of each architecture that was measured.

    Raises:
        RasedError: no architecture has such a name.
    """
    import rased.training.checkpoint  # noqa: F401 (once, before the forks)
    from rased.disk import write_json
    from rased.models.figures import config_sha256, read
    from rased.models.registry import model_config

    found = {}
    for name in matching(arguments.model or ["*"]):
        digest = config_sha256(model_config(name))
        known = {} if arguments.out is None else read(arguments.out)["measured"].get(name, {})
        ours = (known.get("config_sha256"), known.get("processor")) == (digest, processor())
        kept = known if ours and not arguments.again else {}
        if {*FIGURES} <= {*kept}:
            continue
        figures = found[name] = {**kept, **_apart(name, kept), "config_sha256": digest}
        if arguments.out is not None and "failed" not in figures:
            # Read again: measuring takes long, and another process may have added its figures meanwhile.
            content = read(arguments.out)
            rows = {**content["measured"], name: figures}
            write_json(arguments.out, {**content, "measured": dict(sorted(rows.items()))})
    return found


def _apart(name: str, kept: Collection[str] = ()) -> dict[str, Any]:
    """Measure the figures that are not kept, each in its own process, whose peak of memory is that of this work."""
    found: dict[str, Any] = {"processor": processor()}
    try:
        for figure, keys in PARTS.items():
            if not {*keys} <= {*kept}:
                found |= forked(_quietly, figure, name)
    except RasedError as error:
        return {"failed": str(error).rstrip(".")}
    return found


def _quietly(figure: Callable[[str], dict[str, Any]], name: str) -> dict[str, Any]:
    import torch

    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    return figure(name)


def inference(name: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Return memory and real-time factor of an untrained network."""
    import torch

    from rased.evaluation.scoring.cost import processor_seconds
    from rased.machine import peak_memory
    from rased.models.registry import create_model

    before = peak_memory()
    enhancer = create_model(name).eval()
    generator = torch.Generator().manual_seed(0)
    noisy = 0.1 * torch.randn(1, round(seconds * enhancer.sample_rate), generator=generator)
    if enhancer.needs_statistics:
        enhancer.fit_statistics([(noisy, noisy)])
    with torch.inference_mode():
        enhancer(noisy)
        after = peak_memory()
        factor = processor_seconds(lambda: enhancer(noisy)) / seconds
    added = None if before is None or after is None else round(after - before, 1)
    return {"real_time_factor": float(f"{factor:.3g}"), "memory_mb": added}


def training(name: str) -> dict[str, float]:
    """Return the speed of a training on one mixture."""
    speed = training_speed(name, batch_size=1, seconds=2.0, steps=3)
    return {"training_speed": float(f"{speed:.3g}")}


def training_memory(name: str, lengths: tuple[float, float] = LENGTHS) -> dict[str, float | None]:
    """Return the peak memory that a step of training takes for each further second; measures this process."""
    peaks = [step_memory(name, seconds=seconds) for seconds in lengths]
    shorter, longer = peaks
    if shorter is None or longer is None:
        return {"training_memory_mb_per_second": None}
    slope = (longer - shorter) / (lengths[1] - lengths[0])
    return {"training_memory_mb_per_second": float(f"{slope:.3g}")}


PARTS: dict[Callable[[str], dict[str, Any]], tuple[str, ...]] = {
    inference: ("real_time_factor", "memory_mb"),
    training: ("training_speed",),
    training_memory: ("training_memory_mb_per_second",),
}
FIGURES = tuple(key for keys in PARTS.values() for key in keys)
"""What a complete row has besides the hash and the name of the processor."""

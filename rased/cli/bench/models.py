"""Measure the architectures of configs/model: speed of training and inference, and memory, on one thread."""

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

from rased.cli.bench.train import matching
from rased.errors import RasedError
from rased.parallel import forked

EXAMPLES = """\
examples:
  rased bench models --model '*-small' --json                   print the figures of some architectures
  rased bench models --out rased/models/figures.json            write those that `rased models` shows

Each architecture is measured in its own process, untrained, in float32 and on one thread.
  training_speed    seconds of audio that `rased train` processes in a processor second: one mixture of 2 s in a batch
  real_time_factor  processor seconds for a second of audio: a file of 10 s in one piece
  memory_mb         memory that building the model and enhancing this file add to a process with PyTorch
With --out, figures are added to the file after each architecture. Those of the same configuration are kept, so an
interrupted command continues; --again measures them anew.
"""

SECONDS = 10.0


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
        if known.get("config_sha256") == digest and not arguments.again:
            continue
        figures = found[name] = {"config_sha256": digest, **_apart(name)}
        if arguments.out is not None and "failed" not in figures:
            # Read again: measuring takes long, and another process may have added its figures meanwhile.
            content = read(arguments.out)
            rows = {**content["measured"], name: figures}
            write_json(arguments.out, {**content, "measured": dict(sorted(rows.items()))})
    return found


def figures_of(name: str) -> dict[str, Any]:
    """Return the figures of one architecture; call it in a process of its own."""
    from rased.machine import processor

    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return {**inference(name), **_training(name), "processor": processor()}


def _apart(name: str) -> dict[str, Any]:
    try:
        return forked(figures_of, name)
    except RasedError as error:
        return {"failed": str(error).rstrip(".")}


def inference(name: str, seconds: float = SECONDS) -> dict[str, Any]:
    """Return memory and real-time factor of an untrained network."""
    import torch

    from rased.evaluation.scoring.cost import processor_seconds
    from rased.machine import peak_memory
    from rased.models.registry import create_model

    torch.set_num_threads(1)
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


def _training(name: str) -> dict[str, float]:
    from rased.cli.bench.train import training_speed

    speed = training_speed(name, batch_size=1, seconds=2.0, steps=3)
    return {"training_speed": float(f"{speed:.3g}")}

"""Measure the cost of resuming within an epoch: CPU seconds to the first batch, from the start and from late."""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rased.cli.options import add_value
from rased.errors import RasedError

if TYPE_CHECKING:
    from rased.data.mixtures.plan import Plan, Shuffle

EXAMPLES = """\
examples:
  rased bench resume                           an epoch of 1 M samples, from 0 and from 900 000
  rased bench resume --samples 10000000 --json

Figures are CPU seconds for each way to shuffle. The corpus is an index of that many utterances that all point to
the bundled audio. `open` is the cost of every start. `reading` estimates the cost of reading up to the position
instead of jumping to it."""

ROUNDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench resume`."""
    parser.epilog = EXAMPLES
    add_value(parser, "--samples", "N", 1_000_000, "samples in the epoch")
    add_value(parser, "--at", "SHARE", 0.9, "position as a share of the epoch")
    add_value(parser, "--batch-size", "N", 16, "samples in a batch")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return CPU seconds to the first batch for each way to shuffle, at both positions (medians of several epochs).

    Raises:
        RasedError: the position is outside the epoch.
    """
    from rased.data.mixtures.corpus import Corpus
    from rased.data.mixtures.plan import Plan, Scene

    if arguments.at >= 1:
        raise RasedError(f"--at is {arguments.at:g}: give a share below 1.")
    position = round(arguments.at * arguments.samples)
    figures: dict[str, Any] = {"samples": arguments.samples, "position": position}
    with tempfile.TemporaryDirectory(prefix="rased-bench-") as folder:
        _write(Path(folder), arguments.samples)
        for shuffle in ("samples", "blocks"):
            begun = time.process_time()
            plan = Plan(
                speech=Corpus([folder], role="speech", split="train"),
                noise=Corpus(["bundle"], role="noise", split="train"),
                rir=Corpus(["bundle"], role="rir", split="train"),
                scene=Scene(),
                seed=0,
                shuffle=cast("Shuffle", shuffle),
            )
            opened = time.process_time() - begun
            rounds = [
                [_first(plan, epoch, at, arguments.batch_size) for at in (0, position)]
                for epoch in range(ROUNDS)
            ]
            start, within = (statistics.median(times) for times in zip(*rounds, strict=True))
            pace = _pace(plan, arguments.batch_size)
            figures[f"by_{shuffle}"] = {
                "open": opened,
                "first_batch": start,
                "first_batch_within": within,
                "ratio": within / start,
                "reading": position * pace,
            }
    return figures


def _write(folder: Path, samples: int) -> None:
    """Write an index of many utterances that repeat the bundled audio."""
    from rased.data.shards.index import INDEX, bundle, locate

    speech = locate(bundle(), "speech")
    stored = json.loads((speech / INDEX).read_text(encoding="utf-8"))
    rows = [row for row, split in enumerate(stored["columns"]["split"]) if split == "train"]
    rows = list(itertools.islice(itertools.cycle(rows), samples))
    for name, column in stored["columns"].items():
        stored["columns"][name] = [column[row] for row in rows]
    stored["columns"]["key"] = [f"{number:09d}" for number in range(samples)]
    stored["samples"] = samples
    for shard in stored["shards"]:
        (folder / shard["name"]).symlink_to(speech / shard["name"])
    (folder / INDEX).write_text(json.dumps(stored, separators=(",", ":")), encoding="utf-8")


def _first(plan: "Plan", epoch: int, position: int, batch_size: int) -> float:
    """Return CPU seconds to the first batch of an epoch from a position (each call in a new epoch: no cache helps)."""
    from rased.data.mixtures.stream import stream

    begun = time.process_time()
    # Both positions get epochs of their own, so that neither finds the other's order in a cache.
    epoch = 2 * epoch + (position > 0)
    next(iter(stream(plan, epoch=epoch, position=position, batch_size=batch_size)))
    return time.process_time() - begun


def _pace(plan: "Plan", batch_size: int, batches: int = 20) -> float:
    """Return CPU seconds per sample of a running stream."""
    from rased.data.mixtures.stream import stream

    running = iter(stream(plan, epoch=0, batch_size=batch_size))
    next(running)
    begun = time.process_time()
    for _ in itertools.islice(running, batches):
        pass
    return (time.process_time() - begun) / (batches * batch_size)

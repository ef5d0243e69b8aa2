"""The architectures that can be trained (every YAML below configs/model) and the methods that need no training."""

import argparse
import json
from dataclasses import asdict, dataclass

import torch

from rased.building import build
from rased.models.base import Enhancer, SpectralEnhancer
from rased.models.classical import METHODS
from rased.models.cost import Latency, count_parameters, macs_per_second
from rased.models.registry import list_models, model_config

EXAMPLES = """\
examples:
  rased models                                      the table
  rased models --json                               the same for a program
  rased train -c model/gtcrn -c data/bundle         train one of them
  rased enhance in.wav -o out.wav --model om-lsa    a classical method needs no training

Latency in ms, as the DNS Challenge counts it (at most 40 there): window and look-ahead + hop. A stream's output lags
its input by the first part less a hop. MACs are multiply-accumulates of matrix products and convolutions, recurrent
layers among them, for one second of audio; norms, activations, biases, element-wise gates and the transform are left
out, so figures of others that count those are larger (GTCRN: 26.3 M here, 33.0 M in its README, 39.6 M in its paper).
Published parameters are the paper's, where this configuration is the paper's.
"""


@dataclass(frozen=True)
class Row:
    """One architecture or method.

    Attributes:
        name: of its YAML (`rased train -c model/NAME`), or of the method as `rased evaluate` takes it.
        story: how it is trained: mask, mapping, complex or waveform; "classical": not at all.
        domain: where it works: frequency or time.
        causal: whether it can stream.
        algorithmic_latency_ms: window and look-ahead; None for whole utterances, as the two below.
        buffering_ms: the hop.
        latency_ms: both together, as the DNS Challenge counts.
        parameters: ours.
        published_parameters: the paper's count for this configuration; None where there is none.
        macs_per_second: multiply-accumulates for a second of audio; None for a classical method.
        paper: authors, title, venue, DOI or arXiv.
    """

    name: str
    story: str
    domain: str
    causal: bool
    algorithmic_latency_ms: float | None
    buffering_ms: float | None
    latency_ms: float | None
    parameters: int
    published_parameters: int | None
    macs_per_second: int | None
    paper: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `rased models`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build every architecture and every method, and print what it is."""
    rows = [*map(describe, list_models()), *map(describe_method, METHODS)]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print_table(rows)
    return 0


def describe(name: str) -> Row:
    """Build the architecture of configs/model/NAME.yaml and count.

    Raises:
        RasedError: the YAML does not describe an enhancer.
    """
    model = model_config(name)
    with torch.device("meta"):  # shapes only: nothing is initialised
        enhancer = build(Enhancer, model["init_args"]["enhancer"])
    return _row(
        enhancer,
        name=name,
        story=model["class_path"].split(".")[-2],
        domain="frequency" if isinstance(enhancer, SpectralEnhancer) else "time",
        macs=round(macs_per_second(enhancer)),
    )


def describe_method(name: str) -> Row:
    """Build the method of that name."""
    return _row(METHODS[name](), name=name, story="classical", domain="frequency", macs=None)


def _row(enhancer: Enhancer, *, name: str, story: str, domain: str, macs: int | None) -> Row:
    latency = Latency.of(enhancer)
    parts = (latency.algorithmic, latency.buffering)
    algorithmic, buffering = (p if p is None else latency.milliseconds(p) for p in parts)
    return Row(
        name=name,
        story=story,
        domain=domain,
        causal=enhancer.causal,
        algorithmic_latency_ms=algorithmic,
        buffering_ms=buffering,
        latency_ms=latency.total_ms,
        parameters=count_parameters(enhancer),
        published_parameters=enhancer.published_parameters,
        macs_per_second=macs,
        paper=enhancer.paper,
    )


def print_table(rows: list[Row]) -> None:
    """Print one line each, the paper cut to the width of the terminal."""
    from rich.table import Table

    from rased.terminal import open_console

    table = Table(box=None, pad_edge=False, expand=True)
    for title in ("name", "story", "domain"):
        table.add_column(title, no_wrap=True)
    for title in ("latency (ms)", "parameters", "published", "MACs/s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("paper", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        table.add_row(
            row.name,
            row.story,
            row.domain,
            "whole file" if row.latency_ms is None else _latency(row),
            _short(row.parameters),
            "" if row.published_parameters is None else _short(row.published_parameters),
            "" if row.macs_per_second is None else _short(row.macs_per_second),
            row.paper,
        )
    open_console(width=max(100, open_console().width)).print(table)


def _latency(row: Row) -> str:
    parts = (row.latency_ms, row.algorithmic_latency_ms, row.buffering_ms)
    return "{:.3g} ({:.3g} + {:.3g})".format(*parts)


def _short(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)

"""List the architectures that can be trained (the YAMLs in configs/model) and the classical methods."""

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
  rased models                                      print the table
  rased models --json                               print it as JSON
  rased train -c model/gtcrn -c data/bundle         train one of them
  rased enhance in.wav -o out.wav --model om-lsa    use a classical method, without training

Latency is in ms and follows the DNS Challenge (limit: 40 ms): window and look-ahead, plus hop. The output of a
stream lags the input by the first part minus one hop. MACs are the multiply-accumulates of matrix products,
convolutions and recurrent layers for one second of audio. Normalisation, activations, biases, element-wise gates
and the transform are not counted, so other tools may report more (GTCRN: 26.3 M here, 33.0 M in its README,
39.6 M in its paper). "published" is the paper's number of parameters, if the paper has this configuration.
"""


@dataclass(frozen=True)
class Row:
    """One architecture or method.

    Attributes:
        name: of the YAML (`rased train -c model/NAME`), or of the method (`rased evaluate NAME`).
        story: how it is trained: mask, mapping, complex or waveform; "classical" if it is not trained.
        domain: frequency or time.
        causal: whether it can stream.
        algorithmic_latency_ms: window and look-ahead; None if it needs the whole utterance (as the next two).
        buffering_ms: the hop.
        latency_ms: the sum of both, as in the DNS Challenge.
        parameters: number of parameters, as built here.
        published_parameters: number in the paper for this configuration; None if not given.
        macs_per_second: multiply-accumulates for one second of audio; None for a classical method.
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
    """Add the arguments of `rased models`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build every architecture and classical method, and print the table."""
    rows = [*map(describe, list_models()), *map(describe_method, METHODS)]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print_table(rows)
    return 0


def describe(name: str) -> Row:
    """Build the architecture of configs/model/NAME.yaml and count parameters and MACs.

    Raises:
        RasedError: the YAML does not describe an enhancer.
    """
    model = model_config(name)
    with torch.device("meta"):  # shapes only: no memory, no initialisation
        enhancer = build(Enhancer, model["init_args"]["enhancer"])
    return _row(
        enhancer,
        name=name,
        story=model["class_path"].split(".")[-2],  # the module of the training class
        domain="frequency" if isinstance(enhancer, SpectralEnhancer) else "time",
        macs=round(macs_per_second(enhancer)),
    )


def describe_method(name: str) -> Row:
    """Return the row of a classical method."""
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
    """Print one line for each row; cut the paper to the width of the terminal."""
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

"""The architectures that can be trained: every YAML below configs/model, with what it costs."""

import argparse
import json
from dataclasses import asdict, dataclass

import torch

from rased.config import build, config_folder, load_yaml
from rased.models.base import Enhancer, SpectralEnhancer
from rased.models.cost import count_parameters, macs_per_second

EXAMPLES = """\
examples:
  rased models                                      the table
  rased models --json                               the same for a program
  rased train -c model/gtcrn -c data/bundle         train one of them

Latency is what the stream's output lags its input by. MACs are those of products and convolutions
for one second of audio. Published parameters are the paper's, where this configuration is the paper's.
"""


@dataclass(frozen=True)
class Row:
    """One architecture.

    Attributes:
        name: of its YAML; `rased train -c model/NAME`.
        story: how it is trained: mask, mapping, complex or waveform.
        domain: where it works: frequency or time.
        causal: whether it can stream.
        latency_ms: by which a stream's output lags; None for whole utterances.
        parameters: ours.
        published_parameters: the paper's count for this configuration; None where there is none.
        macs_per_second: multiply-accumulates for a second of audio.
        paper: authors, title, venue, DOI or arXiv.
    """

    name: str
    story: str
    domain: str
    causal: bool
    latency_ms: float | None
    parameters: int
    published_parameters: int | None
    macs_per_second: int
    paper: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `rased models`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build every architecture and print what it is."""
    names = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
    rows = [describe(name) for name in names]
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
    model = load_yaml(config_folder() / "model" / f"{name}.yaml")["model"]
    with torch.device("meta"):  # shapes only: nothing is initialised
        enhancer = build(Enhancer, model["init_args"]["enhancer"])
    latency = enhancer.latency
    return Row(
        name=name,
        story=model["class_path"].split(".")[-2],
        domain="frequency" if isinstance(enhancer, SpectralEnhancer) else "time",
        causal=enhancer.causal,
        latency_ms=None if latency is None else 1000 * latency / enhancer.sample_rate,
        parameters=count_parameters(enhancer),
        published_parameters=getattr(enhancer, "published_parameters", None),
        macs_per_second=round(macs_per_second(enhancer)),
        paper=getattr(enhancer, "paper", ""),
    )


def print_table(rows: list[Row]) -> None:
    """Print one line an architecture, the paper cut to the width of the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, expand=True)
    for title in ("name", "story", "domain", "latency"):
        table.add_column(title, no_wrap=True)
    for title in ("parameters", "published", "MACs/s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("paper", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        table.add_row(
            row.name,
            row.story,
            row.domain,
            "offline" if row.latency_ms is None else f"{row.latency_ms:g} ms",
            _short(row.parameters),
            "" if row.published_parameters is None else _short(row.published_parameters),
            _short(row.macs_per_second),
            row.paper,
        )
    Console(width=max(100, Console().width)).print(table)


def _short(number: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)

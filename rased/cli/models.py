"""List the architectures that can be trained (the YAMLs in configs/model) and the classical methods."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from rased.building import build
from rased.errors import RasedError, nearest
from rased.models.base import Enhancer, SpectralEnhancer
from rased.models.classical import METHODS
from rased.models.cost import Latency, count_parameters, macs_per_second
from rased.models.figures import measured, parity
from rased.models.registry import list_models, model_config

EXAMPLES = """\
examples:
  rased models                                      print the table
  rased models --sort real_time_factor              print it in the order of a column
  rased models --json                               print it as JSON, with papers and sources
  rased train -c model/gtcrn -c data/bundle         train one of them
  rased enhance in.wav -o out.wav --model om-lsa    use a classical method, without training

Latency is in ms and follows the DNS Challenge (limit: 40 ms): window and look-ahead, plus hop. The output of a
stream lags the input by the first part minus one hop. MACs are the multiply-accumulates of matrix products,
convolutions and recurrent layers for one second of audio. Normalisation, activations, biases, element-wise gates
and the transform are not counted, so other tools may report more (GTCRN: 26.3 M here, 33.0 M in its README,
39.6 M in its paper). "published" is the paper's number of parameters, if the paper has this configuration.
"parity" is the largest difference to the output of the authors' code, for this class of network on the same weights;
empty if it has not been compared. Training (speed, and memory for each second of audio), RTF and memory were
measured on one thread by `rased bench models`, whose help defines them; empty if this configuration has not been
measured.
"""

_NUMBERS = (
    "latency\n(ms)",
    "para-\nmeters",
    "pub-\nlished",
    "MACs\nper s",
    "parity",
    "training\n(s/s)",
    "training\n(MB/s)",
    "RTF",
    "memory\n(MB)",
)
_MEASURED = ("training_speed", "training_memory_mb_per_second", "real_time_factor", "memory_mb")
_WIDE = 175
"""Columns of a terminal from which on the table shows the paper."""


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
        parity: source of the authors' code, and max_error, the largest difference to its output; None if not compared.
        training_speed: seconds of audio per processor second in `rased train`; None if not measured (as the next
            three).
        training_memory_mb_per_second: peak memory that each second of audio in a batch takes in training.
        real_time_factor: processor seconds per second of audio.
        memory_mb: memory that enhancing 10 s adds.
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
    parity: dict[str, Any] | None = None
    training_speed: float | None = None
    training_memory_mb_per_second: float | None = None
    real_time_factor: float | None = None
    memory_mb: float | None = None

    @property
    def parity_error(self) -> float | None:
        """Return the largest difference to the output of the authors' code."""
        return None if self.parity is None else float(self.parity["max_error"])


COLUMNS = (*(field.name for field in fields(Row) if field.name != "parity"), "parity_error")
"""Columns that a table can be sorted by."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased models`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--sort",
        default="",
        metavar="COLUMN",
        help=f"order of the rows, unknown values last: {', '.join(COLUMNS)} (default: architectures, then methods)",
    )
    parser.add_argument("--reverse", action="store_true", help="largest first")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build every architecture and classical method, and print the table."""
    if arguments.sort and arguments.sort not in COLUMNS:
        raise RasedError(f"no column '{arguments.sort}'; {nearest(arguments.sort, COLUMNS)}")
    rows = [*map(describe, list_models()), *map(describe_method, METHODS)]
    if arguments.sort or arguments.reverse:
        rows = ordered(rows, arguments.sort or "name", reverse=arguments.reverse)
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
    row = _row(
        enhancer,
        name=name,
        story=model["class_path"].split(".")[-2],  # the module of the training class
        domain="frequency" if isinstance(enhancer, SpectralEnhancer) else "time",
        macs=round(macs_per_second(enhancer)),
    )
    figures = measured(name, model) or {}
    known: dict[str, Any] = {field: figures.get(field) for field in _MEASURED}
    return replace(row, parity=parity(name), **known)


def ordered(rows: Sequence[Row], column: str, *, reverse: bool = False) -> list[Row]:
    """Return the rows in the order of a column; rows without a value come last either way."""
    known = [row for row in rows if getattr(row, column) is not None]
    unknown = [row for row in rows if getattr(row, column) is None]
    return [*sorted(known, key=lambda row: getattr(row, column), reverse=reverse), *unknown]


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
    """Print one line for each row; the paper, cut to the width of the terminal, only if it is wide enough."""
    from rich.table import Table

    from rased.terminal import open_console

    console = open_console()
    if not console.is_terminal:
        console = open_console(width=_WIDE)
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, expand=wide)
    for title in ("name", "story", "domain")[: 3 if wide else 1]:
        table.add_column(title, no_wrap=True)
    for title in _NUMBERS:
        table.add_column(title, justify="right", no_wrap=True)
    if wide:
        table.add_column("paper", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        kind, paper = ((row.story, row.domain), (row.paper,)) if wide else ((), ())
        table.add_row(row.name, *kind, *_numbers(row), *paper)
    console.print(table)


def _numbers(row: Row) -> tuple[str, ...]:
    return (
        "whole file" if row.latency_ms is None else _latency(row),
        _short(row.parameters),
        _short(row.published_parameters),
        _short(row.macs_per_second),
        "" if row.parity_error is None else f"{row.parity_error:.0e}",
        _short(row.training_speed),
        _short(row.training_memory_mb_per_second),
        "" if row.real_time_factor is None else f"{row.real_time_factor:.3f}",
        _short(row.memory_mb),
    )


def _latency(row: Row) -> str:
    parts = (row.latency_ms, row.algorithmic_latency_ms, row.buffering_ms)
    return "{:.3g} ({:.3g} + {:.3g})".format(*parts)


def _short(number: int | float | None) -> str:
    if number is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"

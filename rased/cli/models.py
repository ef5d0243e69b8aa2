"""List the architectures that can be trained (the YAMLs in configs/model) and the classical methods."""

import argparse
import fnmatch
import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import torch

from rased.building import build
from rased.cli.model_tables import HEADINGS, Row, markdown, print_table
from rased.errors import RasedError, nearest
from rased.models.base import Enhancer, SpectralEnhancer
from rased.models.classical import METHODS
from rased.models.cost import Latency, count_parameters, macs_per_second
from rased.models.figures import learned, measured, parity
from rased.models.registry import list_models, model_config

EXAMPLES = """\
examples:
  rased models                                      print the table
  rased models 'fastenhancer-*' gtcrn               print some rows of it
  rased models --sort real_time_factor              print it in the order of a column
  rased models --json                               print it as JSON, with papers and sources
  rased models gtcrn --markdown --columns latency_ms parameters parity    print it as Markdown
  rased train -c model/gtcrn -c data/bundle         train one of them
  rased enhance in.wav -o out.wav --model om-lsa    use a classical method, without training

Latency is in ms and follows the DNS Challenge (limit: 40 ms): window and look-ahead, plus hop. The output of a
stream lags the input by the first part minus one hop. MACs are the multiply-accumulates of matrix products,
convolutions and recurrent layers for one second of audio. Normalisation, activations, biases, element-wise gates
and the transform are not counted, so other tools may report more (GTCRN: 26.3 M here, 33.0 M in its README,
39.6 M in its paper). "published" is the number of parameters that the paper or the authors' code has for this
configuration. "parity" is the largest difference to the output of the authors' code, for this class of network on the
same weights; empty if it has not been compared. Training (speed, and memory for each second of audio), RTF and memory
were measured on one thread by `rased bench models`, whose help defines them; empty if this configuration has not been
measured. "10 min" is what a training of ten CPU minutes gains: dB of SI-SDR over the noisy input (see
experiments/0013-box-by-box); empty if this configuration has not been trained so.
"""

_MEASURED = ("training_speed", "training_memory_mb_per_second", "real_time_factor", "memory_mb")


COLUMNS = (*(field.name for field in fields(Row) if field.name != "parity"), "parity_error")
"""Columns that a table can be sorted by."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased models`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="architectures or patterns, in this order (default: all)",
    )
    parser.add_argument(
        "--sort",
        default="",
        metavar="COLUMN",
        help=f"order of the rows, unknown values last: {', '.join(COLUMNS)} (default: architectures, then methods)",
    )
    parser.add_argument("--reverse", action="store_true", help="largest first")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help=f"columns of --markdown after the name: {', '.join(HEADINGS)} (default: all)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Build every architecture and classical method, and print the table."""
    if arguments.sort and arguments.sort not in COLUMNS:
        raise RasedError(f"no column '{arguments.sort}'; {nearest(arguments.sort, COLUMNS)}")
    for column in arguments.columns:
        if column not in HEADINGS:
            raise RasedError(f"no column '{column}'; {nearest(column, HEADINGS)}")
    if arguments.columns and not arguments.markdown:
        raise RasedError("--columns chooses the columns of --markdown: add --markdown.")
    rows = [
        describe_method(name) if name in METHODS else describe(name)
        for name in _named(arguments.names)
    ]
    if arguments.sort or arguments.reverse:
        rows = ordered(rows, arguments.sort or "name", reverse=arguments.reverse)
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    elif arguments.markdown:
        print(markdown(rows, arguments.columns or [*HEADINGS]))
    else:
        print_table(rows)
    return 0


def _named(patterns: Sequence[str]) -> list[str]:
    every = [*list_models(), *METHODS]
    found: list[str] = []
    for pattern in patterns or ["*"]:
        names = fnmatch.filter(every, pattern)
        if not names:
            raise RasedError(
                f"no architecture or method matches '{pattern}'; {nearest(pattern, every)}"
            )
        found += names
    return list(dict.fromkeys(found))


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
    gain = (learned(name, model) or {}).get("si_sdr_gain")
    return replace(row, parity=parity(name), ten_minute_si_sdr_gain=gain, **known)


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
        published_in=enhancer.published_in if enhancer.published_parameters else "",
        macs_per_second=macs,
        paper=enhancer.paper,
    )

"""List the metrics of `rased evaluate`: unit, direction, range, requirements, and whether each is installed."""

import argparse
import json
import math
from typing import Any

from rased.metrics import METRICS

EXAMPLES = """\
examples:
  rased metrics                                                print the table
  rased metrics --json                                         print it as JSON
  rased evaluate noisy --on bundle --out results --metrics full    measure every installed metric

configs/eval holds lists of metrics: default, quick, full. A metric that is not installed gets the status
`unavailable` in a result, never a number. Other packages can add metrics through the entry point `rased.metrics`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased metrics`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print every metric."""
    rows = [describe(name) for name in METRICS]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows)
    return 0


def describe(name: str) -> dict[str, Any]:
    """Return the properties of a metric, and the command that installs it ("" if it is installed)."""
    ours = METRICS[name]
    return {
        "name": name,
        "title": ours.title,
        "category": ours.category,
        **ours.declaration(),
        "install": ours.unavailable(),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print one line for each metric, then how to install the missing ones."""
    from rich.table import Table

    from rased.terminal import open_console

    table = Table(box=None, pad_edge=False, expand=True)
    for title in ("name", "unit", "better", "range", "Hz", "against", "here"):
        table.add_column(title, no_wrap=True)
    table.add_column("by", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        low, high = row["range"]
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        table.add_row(
            row["name"],
            row["unit"],
            row["direction"],
            f"{low:g} to {high:g}".replace("to inf", "or more"),
            "any" if row["sample_rate"] is None else str(row["sample_rate"]),
            row["reference"],
            "no" if row["install"] else "yes",
            row["version"],
            style="dim" if row["install"] else None,
        )
    # A pipe has 80 columns, too few for the table.
    console = open_console(width=max(120, open_console().width))
    console.print(table)
    for row in rows:
        if row["install"]:
            console.print(f"{row['name']}: {row['install']}", markup=False, highlight=False)

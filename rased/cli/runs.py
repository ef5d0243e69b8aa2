"""List the runs on this disk, compare their settings and plot their curves. No account is needed.

Without names: list all runs in the folder. With names: list these runs, and the settings in which
they differ.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from rased.training.runs import Run

EXAMPLES = """\
examples:
  rased runs                                 list the runs in runs/
  rased runs --runs elsewhere                list the runs in another folder
  rased runs gru gru-wide --png curves.png   compare two runs and plot their curves
  rased runs gru --png loss.png --metric train/loss train/grad_norm
  rased runs gru --json                      print JSON, with all curves
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased runs`."""
    parser.epilog = EXAMPLES
    parser.add_argument("run", nargs="*", metavar="RUN", help="name or path of a run")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="folder that holds all runs (default: runs)",
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="plot the curves into this file")
    parser.add_argument(
        "--metric",
        nargs="+",
        default=[],
        metavar="NAME",
        help="curves to plot (default: losses and validation metrics)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Print the table of runs, or a comparison of some of them."""
    from rased.terminal import open_console
    from rased.training.runs import differences, draw_curves, list_runs, read_run

    folder: Path = arguments.runs
    if arguments.run:
        found = [
            read_run(p if (p := Path(name)).is_dir() else folder / name) for name in arguments.run
        ]
    else:
        found = list_runs(folder)
    unlike = differences(found) if arguments.run and len(found) > 1 else {}
    if arguments.png is not None:
        draw_curves(found, arguments.png, metrics=arguments.metric)
    if arguments.json:
        rows = [
            {
                **{"name": r.name, "folder": str(r.folder), "model": r.model, "loss": r.loss},
                **{"state": r.state, "steps": r.steps, "seconds": r.seconds, "best": r.best},
                **({"curves": r.curves, "config": r.config} if arguments.run else {}),
            }
            for r in found
        ]
        print(json.dumps(rows, indent=1))
        return 0
    console = open_console()
    if not console.is_terminal:
        console = open_console(width=160)
    _print(found, unlike, console)
    if arguments.png is not None:
        console.print(f"curves: {arguments.png}", soft_wrap=True)
    return 0


def _print(found: list["Run"], unlike: dict[str, list[str]], console: "Console") -> None:
    from rich import box
    from rich.table import Table

    names = list(dict.fromkeys(name for run in found for name in run.best))
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("run", "model", "loss", "state"):
        table.add_column(heading, no_wrap=heading != "loss")
    for heading in ("steps", "hours", *(f"best\n{name}" for name in names)):
        table.add_column(heading, justify="right")
    for run in found:
        best = [f"{run.best[name]:.4g}" if name in run.best else "" for name in names]
        hours = f"{run.seconds / 3600:.2f}"
        table.add_row(run.name, run.model, run.loss, run.state, str(run.steps), hours, *best)
    console.print(table)
    if unlike:
        table = Table(title="settings that differ", box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("setting")
        for run in found:
            table.add_column(run.name)
        for name, values in unlike.items():
            table.add_row(name, *values)
        console.print(table)

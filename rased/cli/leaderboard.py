"""Results side by side: means with 95 % intervals, and what each system costs.

RESULTS are files or folders that `rased evaluate` wrote (default: results). Rows that do not
compare (another version of a metric, another resampler, incomplete) are marked; files of another
schema, or changed by hand, are refused. With --html: a page with the table, bars with intervals,
and, where --save-audio was used, audio and spectrograms. It opens from disk.
"""

import argparse
import sys
from pathlib import Path

EXAMPLES = """\
examples:
  rased leaderboard                                 the results in results/
  rased leaderboard results zoo/leaderboard         several places
  rased leaderboard results --html page             and a page: open page/index.html
  rased leaderboard results --json                  for programs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the words of `rased leaderboard`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "results", nargs="*", type=Path, default=[Path("results")], metavar="RESULTS"
    )
    parser.add_argument("--html", type=Path, metavar="DIR", help="write a page into DIR")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Collect, print, and write the page where asked."""
    import json

    from rased.evaluation import collect, print_table, write_page
    from rased.evaluation.leaderboard import as_plain

    rows = collect(arguments.results)
    if arguments.json:
        print(json.dumps(as_plain(rows), indent=1))
    else:
        print_table(rows)
    if arguments.html is not None:
        folders = [place if place.is_dir() else place.parent for place in arguments.results]
        sounds = next((f / "audio" for f in folders if (f / "audio").is_dir()), None)
        page = write_page(rows, arguments.html, audio_folder=sounds)
        print(f"page: {page}", file=sys.stderr)
    return 0

"""Compare results: means with 95 % confidence intervals, and the cost of each system.

RESULTS are files or folders that `rased evaluate` wrote. The default is results/ if that folder exists, else
the results that come with rased.

Some rows are marked and get neither a rank nor a verdict, because they cannot be compared: another version of
a metric, another protocol than most rows, incomplete results, or missing values that other rows have. Suspicious
rows are marked too: one metric rises while others fall, or the output is louder or delayed. A file
with an old schema, a file that was edited by hand, or a system that was trained on the test set is refused; the
other rows are shown. Runs of the same configuration with several seeds form one row.

--html writes a page with the table, figures (quality against cost, distributions, conditions) and, if
--save-audio was used, audio, spectrograms and a blind listening test. The page works offline. --published adds
scores from papers for a test set of the same name, below a line, with sources and without ranks.

The hash in a result is a checksum, not a signature: it does not prevent forgery. --recheck N enhances and scores N
random utterances again, for every system that is available here, on the test sets of --on. It exits with 1 if
a score differs by more than 0.01 of its unit.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rased.cli.options import add_engine, engine
from rased.errors import ProblemsFound, RasedError

if TYPE_CHECKING:
    from rased.evaluation.result import Result

EXAMPLES = """\
examples:
  rased leaderboard                                 results/, or the results that come with rased
  rased leaderboard results zoo/leaderboard         results from several folders
  rased leaderboard results --html page             also write a page: open page/index.html
  rased leaderboard results --baseline log-mmse     test which systems are better than log-mmse
  rased leaderboard results --by snr_db condition --metric pesq-wb
  rased leaderboard results --worst 5 --metric stoi      show the worst utterances of each system
  rased leaderboard zoo/leaderboard --recheck 3 --on bundle commons-test     verify some scores
  rased leaderboard results --json                  print JSON
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased leaderboard`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS",
        help="files or folders of results (default: results/ if it exists, else those that come with rased)",
    )
    parser.add_argument("--html", type=Path, metavar="DIR", help="write a page into this folder")
    parser.add_argument(
        "--baseline",
        default="noisy",
        metavar="SYSTEM",
        help="system to compare with (default: noisy)",
    )
    parser.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="FACT",
        help="add a table by condition, snr_db, speaker, noise_type, room, t60 or drr_db",
    )
    parser.add_argument(
        "--worst",
        type=int,
        default=0,
        metavar="N",
        help="add the N worst utterances of each system, with the paths of their audio",
    )
    parser.add_argument(
        "--metric", metavar="NAME", help="metric for --by and --worst (default: the first column)"
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="add scores from papers, with sources and without ranks",
    )
    parser.add_argument(
        "--recheck",
        type=int,
        default=0,
        metavar="N",
        help="compute N utterances of each system again",
    )
    parser.add_argument(
        "--on",
        nargs="+",
        default=["bundle"],
        metavar="TESTSET",
        help="test sets for --recheck: folders, or `bundle` (the default)",
    )
    add_engine(parser, "results that --recheck computes in parallel", usual=1)
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME",
        help="show only these metrics (FILE.py:CLASS for a metric of your own)",
    )
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Collect the results, print the tables, and write the page."""
    import json

    from rased.errors import ProblemsFound, RasedError
    from rased.evaluation import collect, write_page
    from rased.evaluation.report.markdown import markdown
    from rased.evaluation.report.terminal import as_plain
    from rased.evaluation.scoring.own_metrics import metric_of

    for option in ("worst", "recheck"):
        if getattr(arguments, option) < 0:
            raise RasedError(f"--{option} is {getattr(arguments, option)}; give 1 or more.")
    # Before the results are read: their scores are compared with the ranges of the known metrics.
    columns = [metric_of(word) for word in arguments.columns]
    chosen = arguments.metric and metric_of(arguments.metric)
    refused: list[RasedError] = []
    places = arguments.results or [default_results()]
    rows = collect(places, refused)
    if refused and not rows:
        raise refused[0]
    folders = [place if place.is_dir() else place.parent for place in places]
    # `rased evaluate --save-audio` writes audio/ beside the results.
    sounds = next((f / "audio" for f in folders if (f / "audio").is_dir()), None)
    baseline, published = arguments.baseline, arguments.published
    if arguments.json:
        print(json.dumps(as_plain(rows, baseline=baseline, published=published), indent=1))
    elif arguments.markdown:
        print(markdown(rows, baseline=baseline, columns=columns))
    else:
        _print_tables(rows, arguments, columns, chosen, sounds)
    if arguments.html is not None:
        page = write_page(rows, arguments.html, audio_folder=sounds, baseline=arguments.baseline)
        print(f"page: {page}", file=sys.stderr)
    if arguments.recheck:
        _recheck(rows, arguments)
    if refused:
        raise ProblemsFound("\n".join(f"refused: {error}" for error in refused))
    return 0


def _print_tables(
    rows: "list[Result]",
    arguments: argparse.Namespace,
    columns: list[str],
    chosen: str | None,
    sounds: Path | None,
) -> None:
    from rased.evaluation.comparison.board import boards
    from rased.evaluation.report.terminal import (
        print_boards,
        print_conditions,
        print_worst,
        terminal,
    )

    console, found = terminal(), boards(rows, baseline=arguments.baseline)
    print_boards(found, console, published=arguments.published, columns=columns)
    for board in found:
        metric = chosen or next(iter(board.metrics), None)
        if metric is None:
            continue
        for fact in arguments.by:
            print_conditions(board, metric, fact, console)
        if arguments.worst:
            print_worst(board, metric, arguments.worst, console, sounds=sounds)


def default_results() -> Path:
    """Return results/ of the working directory if it holds results, else the results that come with rased.

    Raises:
        RasedError: neither exists.
    """
    from rased.shelves import shelves

    here = Path("results")
    if any(here.glob("*--*.json")):
        return here
    for folder in shelves():
        if any((folder / "leaderboard").glob("*--*.json")):
            print(
                "rased: no results/ here, showing the results that come with rased. Make yours with `rased evaluate`.",
                file=sys.stderr,
            )
            return folder / "leaderboard"
    raise RasedError("the folder results/ does not exist here: make it with `rased evaluate`.")


def _recheck(rows: "list[Result]", arguments: argparse.Namespace) -> None:
    """Compute some of the scores again and print what was checked.

    Raises:
        ProblemsFound: a score differs.
    """
    import numpy as np

    from rased.evaluation.scoring.recheck import TOLERANCE, recheck
    from rased.evaluation.testset import BUNDLE, read_testset

    testsets = [read_testset(BUNDLE if word == "bundle" else word) for word in arguments.on]
    # Unseeded on purpose: a submitter must not know which utterances will be computed again.
    random = np.random.default_rng()
    with engine(arguments):
        found = recheck(
            rows,
            testsets,
            count=arguments.recheck,
            random=random,
            jobs=arguments.jobs,
            engine=arguments.engine,
        )
    for one in found:
        print(f"recheck: {one}.", file=sys.stderr)
    problems = [sentence for one in found for sentence in one.problems]
    if problems:
        raise ProblemsFound(
            f"{len(problems)} scores differ from those computed on this machine (tolerance {TOLERANCE:g}):\n  "
            + "\n  ".join(problems)
        )

"""Results side by side: means with 95 % intervals, and what each system costs.

RESULTS are files or folders that `rased evaluate` wrote; without any: results/ where there is such a
folder, else the project's own board. Rows that do not
compare (another version of a metric, another protocol than most, incomplete, no value where others
have one) are marked, and have neither rank nor verdict; marked is also what scores do not tell: a
metric that rises while others fall, an output that is louder or late. Files of another schema or
changed by hand, and systems that were trained on what they are tested on, are refused, and the
others shown. Trainings of one recipe with several seeds are one row. With --published: what others
published for a test set of the same name, under a rule, with sources, never ranked. With --html: a
page with the table, figures (quality against cost, distributions, conditions) and, where
--save-audio was used, audio, spectrograms and a blind test. It opens from disk, without network.

The hash in a result is a checksum, no signature: whoever computes it anew can write any figure that
could be true. --recheck N enhances and scores N drawn utterances of every system that is here again
(on the test sets of --on), and exits with 1 where a score is off by more than 0.01 of its unit.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rased.errors import ProblemsFound, RasedError

if TYPE_CHECKING:
    from rased.evaluation.result import Result

EXAMPLES = """\
examples:
  rased leaderboard                                 results/, else the project's own board
  rased leaderboard results zoo/leaderboard         several places
  rased leaderboard results --html page             and a page: open page/index.html
  rased leaderboard results --baseline log-mmse     who is better than that, and how surely
  rased leaderboard results --by snr_db condition --metric pesq-wb
  rased leaderboard results --worst 5 --metric stoi      which utterances went wrong
  rased leaderboard zoo/leaderboard --recheck 3 --on bundle commons-test     are the scores true?
  rased leaderboard results --json                  for programs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the words of `rased leaderboard`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS",
        help="files or folders (default: results/ where there is one, else the project's own board)",
    )
    parser.add_argument("--html", type=Path, metavar="DIR", help="write a page into DIR")
    parser.add_argument(
        "--baseline", default="noisy", metavar="SYSTEM", help="compare with it (default: noisy)"
    )
    parser.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="FACT",
        help="also a table by condition, snr_db, speaker, noise_type, room, t60 or drr_db",
    )
    parser.add_argument(
        "--worst",
        type=int,
        default=0,
        metavar="N",
        help="also each system's N worst utterances, and where their audio is",
    )
    parser.add_argument(
        "--metric", metavar="NAME", help="for --by and --worst (default: the first column)"
    )
    parser.add_argument(
        "--published", action="store_true", help="also what others published, apart, with sources"
    )
    parser.add_argument(
        "--recheck", type=int, default=0, metavar="N", help="compute N utterances of each again"
    )
    parser.add_argument(
        "--on",
        nargs="+",
        default=["bundle"],
        metavar="TESTSET",
        help="for --recheck: folders of test sets, or `bundle` (the default)",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME",
        help="show these metrics alone (FILE.py:CLASS for one of your own)",
    )
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Collect, print, and write the page where asked."""
    import json

    from rased.errors import ProblemsFound, RasedError
    from rased.evaluation import collect, print_table, write_page
    from rased.evaluation.comparison.board import boards
    from rased.evaluation.report.markdown import markdown
    from rased.evaluation.report.terminal import as_plain, print_conditions, print_worst, terminal
    from rased.evaluation.scoring.own_metrics import metric_of

    columns = [metric_of(word) for word in arguments.columns]
    chosen = arguments.metric and metric_of(arguments.metric)
    refused: list[RasedError] = []
    places = arguments.results or [default_results()]
    rows = collect(places, refused)
    if refused and not rows:
        raise refused[0]
    folders = [place if place.is_dir() else place.parent for place in places]
    sounds = next((f / "audio" for f in folders if (f / "audio").is_dir()), None)
    baseline = arguments.baseline
    if arguments.json:
        print(
            json.dumps(as_plain(rows, baseline=baseline, published=arguments.published), indent=1)
        )
    elif arguments.markdown:
        print(markdown(rows, baseline=baseline, columns=columns))
    else:
        console = terminal()
        print_table(
            rows,
            console,
            baseline=baseline,
            published=arguments.published,
            columns=columns,
        )
        for board in boards(rows, baseline=baseline):
            metric = chosen or next(iter(board.metrics), None)
            if metric is None:
                continue
            for fact in arguments.by:
                print_conditions(board, metric, fact, console)
            if arguments.worst:
                print_worst(board, metric, arguments.worst, console, sounds=sounds)
    if arguments.html is not None:
        page = write_page(rows, arguments.html, audio_folder=sounds, baseline=baseline)
        print(f"page: {page}", file=sys.stderr)
    if arguments.recheck:
        _recheck(rows, arguments.on, arguments.recheck)
    if refused:
        raise ProblemsFound("\n".join(f"refused: {error}" for error in refused))
    return 0


def default_results() -> Path:
    """results/ of the working directory where it holds results, else the project's own.

    Raises:
        RasedError: neither is there.
    """
    from rased.zoo.registry import shelves

    here = Path("results")
    if any(here.glob("*--*.json")):
        return here
    for folder in shelves():
        if any((folder / "leaderboard").glob("*--*.json")):
            print(
                "rased: no results/ here: the project's own board. Make yours with `rased evaluate`.",
                file=sys.stderr,
            )
            return folder / "leaderboard"
    raise RasedError("there is no folder results/ here: make one with `rased evaluate`.")


def _recheck(rows: "list[Result]", on: list[str], count: int) -> None:
    """Compute some of the scores again, and say what came of it.

    Raises:
        ProblemsFound: a score is off.
    """
    import numpy as np

    from rased.evaluation.scoring.recheck import TOLERANCE, recheck
    from rased.evaluation.testset import BUNDLE, read_testset

    if count < 0:
        raise RasedError(f"{count} utterances cannot be computed again: give 1 or more.")
    testsets = [read_testset(BUNDLE if word == "bundle" else word) for word in on]
    found = recheck(rows, testsets, count=count, random=np.random.default_rng())
    for one in found:
        print(f"recheck: {one}.", file=sys.stderr)
    problems = [sentence for one in found for sentence in one.problems]
    if problems:
        raise ProblemsFound(
            f"{len(problems)} scores are not what this machine finds (tolerance {TOLERANCE:g}):\n  "
            + "\n  ".join(problems)
        )

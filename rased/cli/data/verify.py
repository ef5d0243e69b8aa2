"""`rased data verify`: check shards and test sets, and repair shards."""

import argparse

from rased.cli.options import add_json
from rased.cli.report import print_json, progress_bar
from rased.errors import ProblemsFound

EXAMPLES = """\
examples:
  rased data verify bundle
  rased data verify shards/speech shards/noise           splits are compared over all folders
  rased data verify shards/speech --repair

Every byte is hashed and every sample decoded. --repair rebuilds the index from the shards, and rewrites a
damaged shard without its damaged samples. It changes no good sample, keeps the damaged file next to the
new one, and lists what was dropped in DIR/dropped.json. If the labels in a shard and in the index differ, the shard
is right if its SHA-256 is the one in the index. Streaming does not hash local shards: only this command notices
a flipped byte in pcm16.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data verify`."""
    parser.add_argument("folders", nargs="+", metavar="DIR", help="folders as for `info`")
    parser.add_argument(
        "--repair", action="store_true", help="repair what can be repaired, then check"
    )
    add_json(parser, "the problems")


def run(arguments: argparse.Namespace) -> int:
    """Check, and print each problem with its repair."""
    from rased.data.integrity.repair import repair
    from rased.data.integrity.verify import find, verify

    folders = [folder for name in arguments.folders for folder in find(name)]
    done = []
    if arguments.repair:
        done = [f"{folder}: {what}" for folder in folders for what in repair(folder)]
    with progress_bar("verifying") as progress:
        checked = verify(folders, progress=progress)
    if arguments.json:
        print_json(
            {
                "folders": [str(folder) for folder in checked.folders],
                "samples": checked.samples,
                "repaired": done,
                "problems": [
                    {"folder": str(p.folder), "what": p.what, "repair": p.repair}
                    for p in checked.problems
                ],
            }
        )
    else:
        for what in done:
            print(f"repaired: {what}")
        for problem in checked.problems:
            print(f"problem: {problem}")
    if checked.problems:
        raise ProblemsFound(
            f"{len(checked.problems)} problem(s) in {checked.samples} samples; each is listed with its repair."
        )
    if not arguments.json:
        print(f"whole: {checked.samples} samples in {', '.join(map(str, checked.folders))}")
    return 0

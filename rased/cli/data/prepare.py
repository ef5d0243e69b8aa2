"""`rased data prepare`: convert a public corpus into shards, and its test set into a frozen one."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rased.cli.options import add_bad, add_shards, engine, given
from rased.cli.report import print_json
from rased.errors import ProblemsFound

EXAMPLES = """\
examples:
  rased data prepare musan --root corpora/musan --out shards/musan --download
  rased data prepare librispeech --root corpora --out shards/ls --download --part train-clean-100 dev-clean
  rased data prepare fsd50k --root corpora/fsd50k --out shards/fsd --licence CC0 CC-BY
  rased data prepare folder --root my-recordings --out shards/mine       your own speech/, noise/, rir/

Without --download, the corpus must be in --root with the folders of its authors (`rased data corpora NAME` shows
an example path). OUT gets one folder of shards for each role, and `testset` if the corpus has its own test
set. Run the same command again to continue an interrupted run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data prepare`."""
    parser.add_argument(
        "corpus", metavar="CORPUS", help="name of a corpus (see `rased data corpora`)"
    )
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the corpus, or of its downloads",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="download missing files; checked, and resumed if interrupted",
    )
    parser.add_argument(
        "--part", nargs="+", default=[], metavar="NAME", help="use only these parts of the corpus"
    )
    parser.add_argument(
        "--role",
        nargs="+",
        default=[],
        choices=("speech", "noise", "rir"),
        help="use only these roles (default: all roles of the corpus)",
    )
    parser.add_argument(
        "--licence",
        nargs="+",
        default=[],
        metavar="NAME",
        help="use only recordings with these licences, such as CC0 CC-BY",
    )
    parser.add_argument(
        "--all-channels",
        action="store_true",
        help="pack the file of every microphone (default: only the first)",
    )
    add_shards(
        parser,
        "flac (half the size), pcm16 (fast to read)",
        rate="resample to this rate",
        shard_mb=256.0,
        jobs="files decoded in parallel",
    )
    add_bad(parser, 0.1, "files")


def run(arguments: argparse.Namespace) -> int:
    """Download and pack a corpus, and print a summary."""
    from rased.data.corpora import find
    from rased.data.preparation.prepare import prepare

    # Not under its name: `given` would pass it a second time.
    corpus = find(vars(arguments).pop("corpus"))
    with engine(arguments), _progress() as progress:
        done = prepare(
            corpus,
            roles=arguments.role,
            parts=arguments.part,
            licences=arguments.licence,
            **given(arguments, prepare),
            progress=progress,
        )
    skipped = {role: packed.skipped for role, packed in done.packed.items() if packed.skipped}
    if arguments.json:
        _print_json(done)
    else:
        for packed in done.packed.values():
            print(
                f"{packed.folder}: {packed.samples} samples, {packed.seconds / 3600:.2f} h, "
                f"{packed.bytes / 1e6:.1f} MB"
            )
        if done.testset is not None:
            print(f"{done.testset}: {done.pairs} pairs")
        for reason, count in done.passed_over.items():
            print(f"passed over: {count} {reason}")
    if skipped and not arguments.allow_bad:
        count = sum(map(len, skipped.values()))
        raise ProblemsFound(
            f"{count} bad files were skipped, listed in skipped.json of "
            f"{', '.join(str(done.out / role) for role in skipped)} (--allow-bad accepts that)."
        )
    return 0


def _print_json(done: Any) -> None:
    content = {
        "folder": str(done.out),
        "roles": {
            role: {
                "samples": packed.samples,
                "seconds": round(packed.seconds, 3),
                "bytes": packed.bytes,
                "skipped": [{"path": s.path, "reason": s.reason} for s in packed.skipped],
            }
            for role, packed in done.packed.items()
        },
        "testset": None if done.testset is None else str(done.testset),
        "pairs": done.pairs,
        "passed_over": done.passed_over,
        "downloads": {name: vars(fetched) for name, fetched in done.archives.items()},
    }
    print_json(content)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function (what, done, total) that moves one progress bar per task; draw nothing without a terminal."""
    from rich.progress import Progress, TaskID, TimeRemainingColumn

    from rased.terminal import PlainColumn, open_console

    console = open_console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(
        PlainColumn(),
        *Progress.get_default_columns()[1:3],
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:

        def move(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total or None)

        yield move

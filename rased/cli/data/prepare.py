"""`rased data corpora` and `rased data prepare`: list public corpora, and convert one into shards."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rased.errors import ProblemsFound

CORPORA_EXAMPLES = """\
examples:
  rased data corpora                              print the table
  rased data corpora vctk                         show one corpus: splits, layout, citation, downloads
  rased data corpora --json                       print everything as JSON
"""

PREPARE_EXAMPLES = """\
examples:
  rased data prepare musan --root corpora/musan --out shards/musan --download
  rased data prepare librispeech --root corpora --out shards/ls --download --part train-clean-100 dev-clean
  rased data prepare fsd50k --root corpora/fsd50k --out shards/fsd --licence CC0 CC-BY
  rased data prepare folder --root my-recordings --out shards/mine       your own speech/, noise/, rir/

Without --download, the corpus must be in --root with the folders of its authors (`rased data corpora NAME` shows
an example path). OUT gets one folder of shards for each role, and `testset` if the corpus has its own test
set. Run the same command again to continue an interrupted run.
"""


def add_corpora_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data corpora`."""
    parser.epilog = CORPORA_EXAMPLES
    parser.add_argument("name", nargs="?", metavar="CORPUS", help="show all details of this corpus")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data prepare`."""
    parser.epilog = PREPARE_EXAMPLES
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
        "--out", type=Path, required=True, metavar="DIR", help="folder for the shards"
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
    parser.add_argument(
        "--codec", default="flac", choices=("flac", "pcm16"), help="as in `pack` (default: flac)"
    )
    parser.add_argument(
        "--sample-rate",
        type=int,
        default=16_000,
        metavar="HZ",
        help="resample to this rate (default: 16000)",
    )
    parser.add_argument(
        "--shard-mb",
        type=float,
        default=256.0,
        metavar="N",
        help="megabytes in a shard (default: 256)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="files decoded in parallel (default: one per core)",
    )
    parser.add_argument(
        "--max-bad", type=float, default=0.1, metavar="SHARE", help="as in `pack` (default: 0.1)"
    )
    parser.add_argument(
        "--allow-bad", action="store_true", help="exit with 0 even if bad files were skipped"
    )
    parser.add_argument("--json", action="store_true", help="print a summary as JSON")


def run_corpora(arguments: argparse.Namespace) -> int:
    """Print the table of corpora, or the details of one."""
    from rased.data.corpora import CORPORA, find

    chosen = [find(arguments.name)] if arguments.name else list(CORPORA.values())
    rows = [_described(corpus) for corpus in chosen]
    if arguments.json:
        print(json.dumps(rows[0] if arguments.name else rows, ensure_ascii=False, indent=1))
    elif arguments.name:
        for key, value in rows[0].items():
            print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
    else:
        _print_table(rows)
    return 0


def _described(corpus: Any) -> dict[str, Any]:
    return {
        "corpus": corpus.name,
        "title": corpus.title,
        "role": list(corpus.roles),
        "hours": corpus.hours,
        "sample_rate": corpus.sample_rate or None,
        "licence": corpus.licence,
        "how": corpus.how,
        "parts": list(corpus.parts),
        "checksums": sum(bool(archive.checksum) for archive in corpus.archives),
        "splits": corpus.splits,
        "layout": corpus.layout,
        "testset": corpus.pairs is not None,
        "citation": corpus.citation,
        "homepage": corpus.homepage,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from rased.terminal import open_console

    table = Table()
    for column in ("corpus", "role", "hours", "kHz", "licence", "how to get it"):
        table.add_column(
            column,
            justify="right" if column in ("hours", "kHz") else "left",
            no_wrap=column == "corpus",
        )
    for row in rows:
        rate = row["sample_rate"]
        table.add_row(
            row["corpus"],
            " ".join(row["role"]) + (" + test set" if row["testset"] else ""),
            f"{row['hours']:g}" if row["hours"] else "-",
            f"{rate / 1000:g}" if rate else "-",
            row["licence"],
            row["how"],
        )
    open_console().print(table)


def run_prepare(arguments: argparse.Namespace) -> int:
    """Download and pack a corpus, and print a summary."""
    from rased.data.corpora import find
    from rased.data.preparation.prepare import prepare

    with _progress() as progress:
        done = prepare(
            find(arguments.corpus),
            arguments.root,
            arguments.out,
            download=arguments.download,
            roles=arguments.role,
            parts=arguments.part,
            licences=arguments.licence,
            all_channels=arguments.all_channels,
            codec=arguments.codec,
            sample_rate=arguments.sample_rate,
            shard_mb=arguments.shard_mb,
            jobs=arguments.jobs,
            max_bad=arguments.max_bad,
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
    print(json.dumps(content, ensure_ascii=False, indent=1))


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

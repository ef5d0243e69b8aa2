"""`rased data`: pack audio into shards, look into them, check and mend them, freeze a test set."""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rased.errors import ProblemsFound

EXAMPLES = """\
examples:
  rased data pack speech/ --out shards/speech --role speech      any folder of audio files
  rased data info shards/speech                                  what is in it
  rased data verify shards/*                                     is it whole, are the splits disjoint
  rased data VERB --help                                         what a verb takes, with examples
"""

PACK_EXAMPLES = """\
examples:
  rased data pack recordings/ --out shards/speech --role speech
  rased data pack corpus/manifest.csv --out shards/noise --role noise --codec pcm16 --jobs 4
  rased data pack a.wav b.opus --out shards/mine --role speech --split test

Folders are read as [role/][train|valid|test/][label/]...; a manifest.csv in a folder is used instead, with the
columns path and, where known, role, split, label (speaker, noise type, room), licence, source, note, sha256.
A run that was cut off goes on when the same command is given again. Bad files are listed in DIR/skipped.json.
"""

INFO_EXAMPLES = """\
examples:
  rased data info bundle
  rased data info shards/speech --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs below `data`."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(dest="data_verb", metavar="VERB", required=True)

    pack = _verb(verbs, "pack", "audio files into tar shards with an index", PACK_EXAMPLES)
    pack.add_argument(
        "sources", nargs="+", type=Path, metavar="SRC", help="folder, manifest.csv or audio file"
    )
    pack.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the shards"
    )
    pack.add_argument(
        "--role", required=True, choices=("speech", "noise", "rir"), help="what the audio is"
    )
    pack.add_argument(
        "--codec",
        default="flac",
        choices=("flac", "pcm16"),
        help="flac (half the size) or pcm16 (fast to read); default flac",
    )
    pack.add_argument(
        "--sample-rate",
        type=int,
        default=16_000,
        metavar="HZ",
        help="resample to this; default 16000",
    )
    pack.add_argument(
        "--split",
        default="train",
        metavar="NAME",
        help="for files that no folder or manifest puts into a split; default train",
    )
    pack.add_argument(
        "--shard-mb", type=float, default=256, metavar="N", help="megabytes in a shard; default 256"
    )
    pack.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="files decoded at the same time; default one per core",
    )
    pack.add_argument(
        "--max-bad",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="stop when more than this share of the files is bad; default 0.1",
    )
    pack.add_argument(
        "--allow-bad", action="store_true", help="exit 0 although bad files were skipped"
    )
    pack.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked and return the exit code."""
    return {"pack": _pack}[arguments.data_verb](arguments)


def _verb(verbs: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _pack(arguments: argparse.Namespace) -> int:
    from rased.data.pack import pack

    with _progress("packing") as progress:
        packed = pack(
            arguments.sources,
            arguments.out,
            role=arguments.role,
            codec=arguments.codec,
            sample_rate=arguments.sample_rate,
            split=arguments.split,
            shard_mb=arguments.shard_mb,
            jobs=arguments.jobs,
            max_bad=arguments.max_bad,
            progress=progress,
        )
    if arguments.json:
        _print_json(
            {
                "folder": str(packed.folder),
                "samples": packed.samples,
                "seconds": round(packed.seconds, 3),
                "bytes": packed.bytes,
                "resumed": packed.resumed,
                "skipped": [{"path": s.path, "reason": s.reason} for s in packed.skipped],
                "passed_over": packed.passed_over,
            }
        )
    else:
        print(
            f"{packed.folder}: {packed.samples} samples, {_duration(packed.seconds)}, "
            f"{packed.bytes / 1e6:.1f} MB{_resumed(packed.resumed, packed.samples)}"
        )
        for reason, count in packed.passed_over.items():
            print(f"passed over: {count} {reason}")
        for skipped in packed.skipped[:10]:
            print(f"skipped: {skipped.path}: {skipped.reason}")
        if len(packed.skipped) > 10:
            print(f"skipped: {len(packed.skipped) - 10} more")
    if packed.skipped and not arguments.allow_bad:
        raise ProblemsFound(
            f"{len(packed.skipped)} bad files were skipped, listed in {packed.folder / 'skipped.json'}; the other "
            f"{packed.samples} are packed (--allow-bad accepts that)."
        )
    return 0


def _resumed(resumed: int, samples: int) -> str:
    if not resumed:
        return ""
    return (
        " (was complete already)"
        if resumed == samples
        else f" ({resumed} of them from an earlier run)"
    )


def _duration(seconds: float) -> str:
    """Return a time in words.

    >>> _duration(5025.4), _duration(59.6)
    ('1 h 23 min 45 s', '1 min 00 s')
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min {rest:02d} s"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _print_json(content: Any) -> None:
    print(json.dumps(content, ensure_ascii=False, indent=1))


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """Give a function (done, total) that moves a bar on stderr; silent when that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""`rased data pack`: convert audio files into tar shards with an index."""

import argparse
from pathlib import Path

from rased.cli.options import add_bad, add_shards, add_value, given
from rased.cli.report import duration, print_json, progress_bar
from rased.errors import ProblemsFound

EXAMPLES = """\
examples:
  rased data pack recordings/ --out shards/speech --role speech
  rased data pack corpus/manifest.csv --out shards/noise --role noise --codec pcm16 --jobs 4
  rased data pack a.wav b.flac --out shards/mine --role speech --split test

Folders are read as [role/][train|valid|test/][label/]... A manifest.csv in a folder is used instead; its columns
are path and, if known, role, split, label (speaker, noise type, room), licence, source, note, sha256. If neither
names a split, a tenth of the labels goes into the split valid (--valid-share), or a tenth of the recordings if there
is only one label. Run the same command again to continue an interrupted run. M4A, MP4, WebM and others are read
through ffmpeg. Bad files are listed in DIR/skipped.json.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data pack`."""
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="SRC", help="folder, manifest.csv or audio file"
    )
    parser.add_argument(
        "--role", required=True, choices=("speech", "noise", "rir"), help="what the audio is"
    )
    add_shards(
        parser,
        "flac (half the size), pcm16 (fast to read), opus (a tenth of the size; lossy)",
        rate="resample to this rate",
        shard_mb=256.0,
        jobs="files decoded in parallel",
    )
    add_value(parser, "--kbits", "N", 32.0, "kbit/s of opus")
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="split of files whose folder or manifest names none (default: train and valid)",
    )
    parser.add_argument(
        "--valid-share",
        type=float,
        metavar="SHARE",
        help="share of the labels of these files that goes into valid, by a hash of their names (default: 0.1, or 0 "
        "with --split)",
    )
    parser.add_argument(
        "--keep-channels",
        action="store_true",
        help="keep the channels of noise, for mixtures of several microphones; those of a rir are always kept",
    )
    add_bad(parser, 0.1, "files")


def run(arguments: argparse.Namespace) -> int:
    """Pack, and print what was packed and what was skipped."""
    from rased.audio import printable
    from rased.data.preparation.pack import VALID_SHARE, pack

    if arguments.valid_share is None:
        arguments.valid_share = 0.0 if arguments.split else VALID_SHARE
    arguments.split = arguments.split or "train"
    with progress_bar("packing") as progress:
        packed = pack(arguments.sources, **given(arguments, pack), progress=progress)
    if arguments.json:
        print_json(
            {
                "folder": printable(packed.folder),
                "samples": packed.samples,
                "seconds": round(packed.seconds, 3),
                "bytes": packed.bytes,
                "resumed": packed.resumed,
                "skipped": [{"path": s.path, "reason": s.reason} for s in packed.skipped],
                "passed_over": packed.passed_over,
                "division": packed.division,
                "remarks": packed.remarks,
            }
        )
    else:
        print(
            f"{printable(packed.folder)}: {packed.samples} samples, {duration(packed.seconds)}, "
            f"{packed.bytes / 1e6:.1f} MB{_resumed(packed.resumed, packed.samples)}"
        )
        if packed.division:
            print(f"split: {packed.division} (--valid-share)")
        for reason, count in packed.passed_over.items():
            print(f"passed over: {count} {reason}")
        for remark in packed.remarks[:10]:
            print(f"packed, but look at it: {remark}")
        if len(packed.remarks) > 10:
            print(f"packed, but look at it: {len(packed.remarks) - 10} more")
        for skipped in packed.skipped[:10]:
            print(f"skipped: '{skipped.path}' {skipped.reason}")
        if len(packed.skipped) > 10:
            print(f"skipped: {len(packed.skipped) - 10} more")
    if packed.skipped and not arguments.allow_bad:
        raise ProblemsFound(
            f"{len(packed.skipped)} bad files were skipped, listed in "
            f"{packed.folder / 'skipped.json'}; the other {packed.samples} are packed "
            "(--allow-bad accepts that)."
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

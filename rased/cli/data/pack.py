"""`rased data pack`: convert audio files, or recorded pairs of noisy and clean, into tar shards with an index."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rased.cli.options import add_bad, add_shards, add_value, engine, given
from rased.cli.report import duration, print_json, progress_bar
from rased.errors import ProblemsFound, RasedError

if TYPE_CHECKING:
    from rased.data.preparation.pack import Packed

EXAMPLES = """\
examples:
  rased data pack recordings/ --out shards/speech --role speech
  rased data pack corpus/manifest.csv --out shards/noise --role noise --codec pcm16 --jobs 4
  rased data pack a.wav b.flac --out shards/mine --role speech --split test
  rased data pack --pairs noisy/ clean/ --out shards/pairs
  rased data pack recordings/ --out shards/speech --role speech --engine ray --jobs 2

Folders are read as [role/][train|valid|test/][label/]... A manifest.csv in a folder is used instead; its columns
are path and, if known, role, split, label (speaker, noise type, room), licence, source, note, sha256. If neither
names a split, a tenth of the labels goes into the split valid (--valid-share), or a tenth of the recordings if there
is only one label. Run the same command again to continue an interrupted run. M4A, MP4, WebM and others are read
through ffmpeg. Bad files are listed in DIR/skipped.json.

--pairs NOISY CLEAN packs recorded pairs: the files of both folders have the same paths, sample rates and lengths.
Splits and labels (speakers) are those of the clean files. The delay of each pair is measured.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data pack`."""
    parser.add_argument(
        "sources", nargs="*", type=Path, metavar="SRC", help="folder, manifest.csv or audio file"
    )
    parser.add_argument(
        "--pairs",
        nargs=2,
        type=Path,
        metavar=("NOISY", "CLEAN"),
        help="folders of recorded pairs, instead of SRC and --role",
    )
    parser.add_argument("--role", choices=("speech", "noise", "rir"), help="what the audio is")
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
    parser.add_argument(
        "--max-delay",
        type=float,
        metavar="MS",
        help="largest delay between noisy and clean of a pair, in milliseconds (default: 1)",
    )
    add_bad(parser, 0.1, "files")


def run(arguments: argparse.Namespace) -> int:
    """Pack, and print what was packed and what was skipped."""
    from rased.data.preparation.pack import VALID_SHARE, pack, pack_pairs
    from rased.data.preparation.pairing import MAX_DELAY_MS

    _check(arguments)
    if arguments.valid_share is None:
        arguments.valid_share = 0.0 if arguments.split else VALID_SHARE
    arguments.split = arguments.split or "train"
    with engine(arguments), progress_bar("packing") as progress:
        if arguments.pairs:
            if arguments.max_delay is None:
                arguments.max_delay = MAX_DELAY_MS
            packed = pack_pairs(*arguments.pairs, **given(arguments, pack_pairs), progress=progress)
        else:
            packed = pack(arguments.sources, **given(arguments, pack), progress=progress)
    (_print_json if arguments.json else _print)(packed, paired=bool(arguments.pairs))
    if packed.skipped and not arguments.allow_bad:
        raise ProblemsFound(
            f"{len(packed.skipped)} bad files were skipped, listed in "
            f"{packed.folder / 'skipped.json'}; the other {packed.samples} are packed "
            "(--allow-bad accepts that)."
        )
    return 0


def _print_json(packed: "Packed", *, paired: bool) -> None:
    from rased.audio import printable
    from rased.data.preparation.pairing import summary

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
            **({"delay": summary(packed.delays)} if paired else {}),
        }
    )


def _print(packed: "Packed", *, paired: bool) -> None:
    from rased.audio import printable
    from rased.data.preparation.pairing import told

    print(
        f"{printable(packed.folder)}: {packed.samples} samples, {duration(packed.seconds)}, "
        f"{packed.bytes / 1e6:.1f} MB{_resumed(packed.resumed, packed.samples)}"
    )
    if packed.division:
        print(f"split: {packed.division} (--valid-share)")
    if paired and packed.delays:
        print(told(packed.delays))
    for reason, count in packed.passed_over.items():
        print(f"passed over: {count} {reason}")
    _print_some("packed, but look at it", packed.remarks)
    _print_some("skipped", [f"'{one.path}' {one.reason}" for one in packed.skipped])


def _print_some(what: str, lines: Sequence[str]) -> None:
    """Print at most ten lines, and the number of the others."""
    for line in lines[:10]:
        print(f"{what}: {line}")
    if len(lines) > 10:
        print(f"{what}: {len(lines) - 10} more")


def _check(arguments: argparse.Namespace) -> None:
    """Check that the sources are either files of a role or pairs.

    Raises:
        RasedError: they are neither, or both.
    """
    if arguments.pairs:
        if arguments.sources or arguments.role or arguments.keep_channels:
            raise RasedError(
                "--pairs NOISY CLEAN was given with SRC, --role or --keep-channels: pairs have no other sources, no "
                "--role, and one channel each."
            )
    elif not (arguments.sources and arguments.role):
        raise RasedError(
            "Nothing to pack: give SRC and --role speech, noise or rir; or --pairs NOISY CLEAN."
        )
    elif arguments.max_delay is not None:
        raise RasedError("--max-delay was given without --pairs NOISY CLEAN.")


def _resumed(resumed: int, samples: int) -> str:
    if not resumed:
        return ""
    return (
        " (was complete already)"
        if resumed == samples
        else f" ({resumed} of them from an earlier run)"
    )

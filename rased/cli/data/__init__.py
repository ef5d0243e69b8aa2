"""`rased data`: pack audio into shards, look into them, check and mend them, freeze a test set."""

import argparse
from pathlib import Path
from typing import Any

from rased.cli.data import frames as data_frames
from rased.cli.data import prepare as data_prepare
from rased.cli.data import rooms as data_rooms
from rased.cli.data import stream as data_stream
from rased.cli.report import duration, print_json, progress_bar
from rased.errors import ProblemsFound

EXAMPLES = """\
examples:
  rased data pack speech/ --out shards/speech --role speech      any folder of audio files
  rased data info shards/speech                                  what is in it
  rased data verify shards/*                                     whole? splits disjoint?
  rased data corpora                                             public corpora
  rased data prepare musan --root musan --out shards/musan --download
  rased data VERB --help                                         what a verb takes, with examples
"""

PACK_EXAMPLES = """\
examples:
  rased data pack recordings/ --out shards/speech --role speech
  rased data pack corpus/manifest.csv --out shards/noise --role noise --codec pcm16 --jobs 4
  rased data pack a.wav b.flac --out shards/mine --role speech --split test

Folders are read as [role/][train|valid|test/][label/]...; a manifest.csv in a folder is used
instead, with the columns path and, where known, role, split, label (speaker, noise type, room),
licence, source, note, sha256. Where none of them names a split, a tenth of the labels goes into the
split valid (--valid-share), or a tenth of the recordings where there is one label alone. A run that
was cut off goes on when the same command is given again. M4A, MP4, WebM and others are read through
ffmpeg. Bad files are listed in DIR/skipped.json.
"""

INFO_EXAMPLES = """\
examples:
  rased data info bundle
  rased data info shards/speech --json
  rased data info s3://bucket/corpus                  or https://...: from its index.json alone
"""

VERIFY_EXAMPLES = """\
examples:
  rased data verify bundle
  rased data verify shards/speech shards/noise           splits are compared over all folders
  rased data verify shards/speech --repair

Every byte is hashed and every sample decoded. --repair writes the index anew from the shards and
writes a damaged shard again without its damaged samples; good samples stay as they are, the damaged
file is kept beside the new one, what was dropped is listed in DIR/dropped.json. Where a label in a
shard and in the index differ, the shard is right as long as its SHA-256 is the one in the index.
Streaming hashes nothing of local shards: a flipped byte in pcm16 is noticed here alone.
"""

FREEZE_EXAMPLES = """\
examples:
  rased data freeze --speech bundle --noise bundle --rir bundle --out testset --count 60 --seed 1
  rased data freeze --speech shards/speech --noise shards/noise --out testset --count 200 --seed 1 \\
      --snr-db=-5:20 --seconds 6
  rased data freeze --speech bundle --noise bundle --out enrolled --count 60 --seed 1 --enrolment 3

The same command gives the same files, hash for hash; list_sha256 in testset.json is their fingerprint.
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
        choices=("flac", "pcm16", "opus"),
        help="flac (half the size), pcm16 (fast to read) or opus (a tenth, lossy); default flac",
    )
    pack.add_argument(
        "--kbits", type=float, default=32.0, metavar="N", help="kbit/s of opus; default 32"
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
        metavar="NAME",
        help="for files that no folder or manifest puts into a split; default train and valid",
    )
    pack.add_argument(
        "--valid-share",
        type=float,
        metavar="SHARE",
        help="of the labels of these files into valid, by the hash of their names; default 0.1, 0 with --split",
    )
    pack.add_argument(
        "--keep-channels",
        action="store_true",
        help="keep the channels of noise, for mixtures of several microphones; those of a rir are always kept",
    )
    pack.add_argument(
        "--shard-mb",
        type=float,
        default=256.0,
        metavar="N",
        help="megabytes in a shard; default 256",
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

    info = _verb(verbs, "info", "what folders of shards hold, split by split", INFO_EXAMPLES)
    info.add_argument(
        "folder", metavar="DIR", help="folder or URL of shards, one that holds some, or 'bundle'"
    )
    info.add_argument("--json", action="store_true", help="print it as JSON")

    verify = _verb(verbs, "verify", "check shards, index, splits and test sets", VERIFY_EXAMPLES)
    verify.add_argument("folders", nargs="+", metavar="DIR", help="as for info")
    verify.add_argument("--repair", action="store_true", help="mend what can be mended, then check")
    verify.add_argument("--json", action="store_true", help="print what was found as JSON")

    freeze = _verb(verbs, "freeze", "a fixed, auditable test set of mixtures", FREEZE_EXAMPLES)
    shards = "folder of shards, or 'bundle'"
    freeze.add_argument("--speech", required=True, metavar="DIR", help=shards)
    freeze.add_argument("--noise", required=True, metavar="DIR", help=shards)
    freeze.add_argument("--rir", metavar="DIR", help=f"{shards}; without it nothing reverberates")
    freeze.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    freeze.add_argument("--count", type=int, required=True, metavar="N", help="number of mixtures")
    freeze.add_argument("--seed", type=int, required=True, metavar="S", help="of all that is drawn")
    freeze.add_argument(
        "--microphones",
        type=int,
        default=1,
        metavar="N",
        help="channels of the noisy files, the first ones of the responses; default 1",
    )
    freeze.add_argument(
        "--enrolment",
        type=float,
        metavar="S",
        help="seconds of another utterance of the same speaker beside each mixture, for models with such a condition",
    )
    freeze.add_argument(
        "--split", default="test", metavar="NAME", help="to draw from; default test"
    )
    freeze.add_argument(
        "--snr-db",
        type=_snr,
        default="0,5,10,15",
        metavar="LIST",
        help="values in turn as 0,5,10,15, or a range as --snr-db=-5:20; default 0,5,10,15",
    )
    freeze.add_argument(
        "--target",
        default="early",
        choices=("anechoic", "direct", "early", "reverberant"),
        help="what an enhancer should give; default early",
    )
    freeze.add_argument(
        "--early-ms",
        type=float,
        default=50.0,
        metavar="MS",
        help="end of the early reflections; default 50",
    )
    freeze.add_argument(
        "--seconds", type=float, default=4.0, metavar="S", help="longest mixture; default 4"
    )
    freeze.add_argument(
        "--min-seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="shortest utterance used; default 2",
    )
    freeze.add_argument(
        "--proportions",
        type=_numbers,
        default="60,30,10",
        metavar="A,B,C",
        help="shares of noise, reverb+noise, reverb; default 60,30,10",
    )
    freeze.add_argument(
        "--level-dbfs",
        type=_numbers,
        default="-32,-20",
        metavar="LOW,HIGH",
        help="levels of the mixtures, as --level-dbfs=-32,-20 (the default)",
    )
    freeze.add_argument(
        "--name", default="", help="of the set in results; default the folder's name"
    )

    data_rooms.add_arguments(_verb(verbs, "rooms", "simulated rooms as shards", ""))
    data_prepare.add_corpora_arguments(
        _verb(verbs, "corpora", "public corpora: licence, splits, how to get them", "")
    )
    data_prepare.add_prepare_arguments(
        _verb(verbs, "prepare", "a public corpus, or a folder of your own, into shards", "")
    )
    data_stream.add_arguments(_verb(verbs, "stream", "the mixtures of an epoch, as a table", ""))
    data_frames.add_arguments(_verb(verbs, "frames", "frame features of a corpus in one file", ""))


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked and return the exit code."""
    verbs = {
        "pack": _pack,
        "info": _info,
        "verify": _verify,
        "freeze": _freeze,
        "rooms": data_rooms.run,
        "corpora": data_prepare.run_corpora,
        "prepare": data_prepare.run_prepare,
        "stream": data_stream.run,
        "frames": data_frames.run,
    }
    return verbs[arguments.data_verb](arguments)


def _info(arguments: argparse.Namespace) -> int:
    from rased.config import public
    from rased.data.integrity.verify import summary

    found = public(summary(arguments.folder))
    if arguments.json:
        print_json(found)
        return 0
    from rich.table import Table

    from rased.terminal import open_console

    console = open_console()
    for folder in found:
        table = Table(title=f"{folder['folder']}: {folder['what']}", title_justify="left")
        for column in ("split", "files", "length", "labels", "MB", "licences"):
            table.add_column(column, justify="left" if column in ("split", "licences") else "right")
        for row in folder["splits"]:
            table.add_row(
                row["split"],
                str(row["files"]),
                duration(row["seconds"]),
                str(row["labels"]),
                f"{row['bytes'] / 1e6:.1f}",
                ", ".join(row["licences"]),
            )
        console.print(table)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
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


def _freeze(arguments: argparse.Namespace) -> int:
    from rased.data.preparation.balanced import FrozenRecipe
    from rased.data.preparation.freeze import freeze

    snr_db, snr_range = arguments.snr_db
    recipe = FrozenRecipe(
        count=arguments.count,
        seed=arguments.seed,
        snr_db=snr_db,
        snr_range=snr_range,
        seconds=arguments.seconds,
        min_seconds=arguments.min_seconds,
        proportions=arguments.proportions,
        level_dbfs=arguments.level_dbfs,
        target=arguments.target,
        early_ms=arguments.early_ms,
        microphones=arguments.microphones,
        enrolment=arguments.enrolment,
    )
    with progress_bar("mixing") as progress:
        testset = freeze(
            arguments.speech,
            arguments.noise,
            arguments.rir,
            arguments.out,
            recipe=recipe,
            split=arguments.split,
            name=arguments.name,
            progress=progress,
        )
    print(
        f"{arguments.out}: {testset['count']} mixtures, {duration(testset['seconds'])}, "
        f"list_sha256 {testset['list_sha256']}"
    )
    return 0


def _numbers(text: str) -> tuple[float, ...]:
    """Read numbers with commas between them.

    >>> _numbers("60,30,10")
    (60.0, 30.0, 10.0)
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        message = f"'{text}' is not a list of numbers as 0,5,10"
        raise argparse.ArgumentTypeError(message) from error


def _snr(text: str) -> tuple[tuple[float, ...], bool]:
    """Read SNRs: values, or the two ends of a range.

    >>> _snr("0,5"), _snr("-5:20")
    (((0.0, 5.0), False), ((-5.0, 20.0), True))
    """
    return _numbers(text.replace(":", ",")), ":" in text


def _verb(verbs: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    return verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _pack(arguments: argparse.Namespace) -> int:
    from rased.audio import printable
    from rased.data.preparation.pack import VALID_SHARE, pack

    valid_share = arguments.valid_share
    if valid_share is None:
        valid_share = 0.0 if arguments.split else VALID_SHARE
    with progress_bar("packing") as progress:
        packed = pack(
            arguments.sources,
            arguments.out,
            role=arguments.role,
            codec=arguments.codec,
            kbits=arguments.kbits,
            sample_rate=arguments.sample_rate,
            split=arguments.split or "train",
            valid_share=valid_share,
            shard_mb=arguments.shard_mb,
            keep_channels=arguments.keep_channels,
            jobs=arguments.jobs,
            max_bad=arguments.max_bad,
            progress=progress,
        )
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

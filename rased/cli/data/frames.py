"""`rased data frames`: frame features of a whole corpus in one HDF5 file, in flat memory."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rased.cli.report import duration, print_json, progress_bar
from rased.errors import ProblemsFound, RasedError, nearest

if TYPE_CHECKING:
    from rased.data.frames.sources import FrameSource

EXAMPLES = """\
examples:
  rased data frames shards/speech --out speech.h5
  rased data frames shards/speech --features log_mel,mfcc --bands 40 --out speech.h5
  rased data frames -c data/frames --hours 10 --out frames.h5       pairs (noisy, target) to train from
  rased train -c model/dnn-mapping -c data/frames --data.init_args.file frames.h5

From shards: the features of every recording, as frames/clean. From a data section (-c): those of
training mixtures, as frames/noisy and frames/target; their index and sha256 are those of `rased data
stream`. Beside them: an index of the utterances, mean and variance, and how the file was made. A run
that was cut off goes on when the same command is given again. Shards are hashed before they are read: what is not as
it was packed is left out, named, and counted against --max-bad.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `rased data frames` understands."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "shards", nargs="*", metavar="SHARDS", help="folder of speech shards, or 'bundle'"
    )
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="YAML",
        help="data section of mixtures, instead of SHARDS; merged left to right",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--mixtures", type=int, metavar="N", help="how many; with -c")
    amount.add_argument("--hours", type=float, metavar="H", help="of mixtures; with -c")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file")
    parser.add_argument(
        "--features",
        default="log_power",
        metavar="LIST",
        help="one or several, as log_power,mfcc; default log_power",
    )
    parser.add_argument(
        "--bands", type=int, default=40, help="of log_mel, log_erb, mfcc; default 40"
    )
    parser.add_argument("--coefficients", type=int, default=20, help="of mfcc; default 20")
    parser.add_argument("--n-fft", type=int, default=512, help="transform in samples; default 512")
    parser.add_argument("--hop-length", type=int, default=256, help="in samples; default 256")
    parser.add_argument("--win-length", type=int, default=512, help="in samples; default 512")
    parser.add_argument("--window", default="sqrt_hann", choices=("sqrt_hann", "hann", "hamming"))
    parser.add_argument(
        "--max-bad",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="stop when more than this share cannot be read; default 0.01",
    )
    parser.add_argument(
        "--allow-bad", action="store_true", help="exit 0 although utterances were skipped"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the file and tell about it."""
    from rased.data.frames.file import Framing
    from rased.data.frames.writer import write_frames
    from rased.layers.features import FEATURES
    from rased.layers.frontend import Features
    from rased.signal.stft import STFT

    kinds = tuple(arguments.features.split(","))
    for kind in kinds:
        if kind not in FEATURES:
            raise RasedError(f"Unknown feature '{kind}': {nearest(kind, FEATURES)}")
    features = Features(kinds, bands=arguments.bands, coefficients=arguments.coefficients)
    stft = STFT(
        arguments.n_fft, arguments.hop_length, arguments.win_length, window=arguments.window
    )
    source = _source(arguments)
    with progress_bar("framing") as progress:
        written = write_frames(
            source,
            Framing(features, stft, source.sample_rate),
            arguments.out,
            max_bad=arguments.max_bad,
            progress=progress,
        )
    if arguments.json:
        print_json(
            {
                "file": str(written.path),
                "utterances": written.utterances,
                "frames": written.frames,
                "seconds": round(written.seconds, 3),
                "bytes": written.bytes,
                "resumed": written.resumed,
                "skipped": list(written.skipped),
            }
        )
    else:
        earlier = f" ({written.resumed} frames from an earlier run)" if written.resumed else ""
        print(
            f"{written.path}: {written.utterances} utterances, {duration(written.seconds)}, {written.frames} frames, "
            f"{written.bytes / 1e6:.1f} MB{earlier}"
        )
        for sentence in written.skipped:
            print(f"skipped: {sentence}")
    if written.skipped and not arguments.allow_bad:
        raise ProblemsFound(
            f"{len(written.skipped)} utterances could not be read and are missing in {written.path}; the other "
            f"{written.utterances} are in it (--allow-bad accepts that)."
        )
    return 0


def _source(arguments: argparse.Namespace) -> "FrameSource":
    from rased.config import load_configs
    from rased.data.frames.sources import Mixtures, Recordings

    if bool(arguments.shards) == bool(arguments.config):
        raise RasedError("Give either SHARDS, or a data section of mixtures as -c data/frames.")
    if arguments.shards:
        if arguments.mixtures is not None or arguments.hours is not None:
            raise RasedError(
                "--mixtures and --hours count mixtures: give a data section as -c data/frames instead of "
                "SHARDS, whose recordings are all taken."
            )
        return Recordings(arguments.shards)
    if arguments.mixtures is None and arguments.hours is None:
        raise RasedError("Say how many mixtures: --mixtures 9000, or --hours 10.")
    recipe = _recipe(load_configs(arguments.config))
    count = arguments.mixtures
    if count is None:
        count = round(3600 * arguments.hours / recipe.scene.segment)
    if count < 1:
        raise RasedError(f"{count} mixtures are none: give --mixtures 1 or more.")
    return Mixtures(recipe.plan(), recipe.mixing, count)


def _recipe(config: dict[str, Any]) -> Any:
    """The part of a data section that the mixtures depend on."""
    from dataclasses import fields

    from rased.building import build
    from rased.data.frames.sources import MixtureRecipe

    if "data" not in config:
        raise RasedError("The configuration has no section 'data': add -c data/frames.")
    given = config["data"].get("init_args") or {}
    names = {field.name for field in fields(MixtureRecipe)}
    return build(
        MixtureRecipe,
        {
            "class_path": "rased.data.frames.sources.MixtureRecipe",
            "init_args": {name: value for name, value in given.items() if name in names},
        },
    )

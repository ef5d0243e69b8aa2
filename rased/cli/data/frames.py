"""`rased data frames`: write frame features of a whole corpus to one HDF5 file, in constant memory."""

import argparse
from typing import TYPE_CHECKING, Any

from rased.cli.options import (
    add_bad,
    add_choice,
    add_config,
    add_engine,
    add_json,
    add_value,
    engine,
    local_path,
)
from rased.cli.report import duration, print_json, progress_bar
from rased.errors import ProblemsFound, RasedError, nearest

if TYPE_CHECKING:
    from rased.data.frames.sources import FrameSource

EXAMPLES = """\
examples:
  rased data frames shards/speech --out speech.h5
  rased data frames shards/speech --features log_mel,mfcc --bands 40 --out speech.h5
  rased data frames -c data/frames --hours 10 --out frames.h5       pairs (noisy, target) for training
  rased train -c model/dnn-mapping -c data/frames --data.init_args.file frames.h5

With SHARDS: the features of every recording, as frames/clean. With a data section (-c): the features of
training mixtures, as frames/noisy and frames/target; their index and sha256 equal those of `rased data
stream`. The file also holds an index of the utterances, mean and variance, and its settings. Run the same
command again to continue an interrupted run. Shards are hashed before they are read. A shard or sample that has
changed since packing is skipped, named, and counted against --max-bad.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data frames`."""
    parser.add_argument(
        "shards", nargs="*", metavar="SHARDS", help="folder of speech shards, or 'bundle'"
    )
    add_config(parser, "YAML with a data section for mixtures, instead of SHARDS", default=[])
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--mixtures", type=int, metavar="N", help="number of mixtures (with -c)")
    amount.add_argument("--hours", type=float, metavar="H", help="hours of mixtures (with -c)")
    parser.add_argument("--out", type=local_path, required=True, metavar="FILE", help="the file")
    add_value(parser, "--features", "LIST", "log_power", "features, such as log_power,mfcc")
    add_value(parser, "--bands", "N", 40, "bands of log_mel, log_erb, log_gammatone and mfcc")
    add_value(parser, "--coefficients", "N", 20, "coefficients of mfcc")
    add_value(parser, "--n-fft", "N", 512, "FFT size in samples")
    add_value(parser, "--hop-length", "N", 256, "hop in samples")
    add_value(parser, "--win-length", "N", 512, "window in samples")
    add_choice(parser, "--window", ("sqrt_hann", "hann", "hamming"), "window of the analysis")
    add_engine(parser, "features computed in parallel, one thread each", usual=1)
    add_bad(parser, 0.01, "utterances")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and print a summary."""
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
    with engine(arguments), progress_bar("framing") as progress:
        written = write_frames(
            source,
            Framing(features, stft, source.sample_rate),
            arguments.out,
            max_bad=arguments.max_bad,
            jobs=arguments.jobs,
            engine=arguments.engine,
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
            f"{len(written.skipped)} utterances could not be read and are missing from {written.path}; the other "
            f"{written.utterances} are in it (--allow-bad accepts that)."
        )
    return 0


def _source(arguments: argparse.Namespace) -> "FrameSource":
    from rased.config import load_configs
    from rased.data.frames.sources import Mixtures, Recordings

    if bool(arguments.shards) == bool(arguments.config):
        raise RasedError(
            "Give either SHARDS, or a data section for mixtures such as -c data/frames."
        )
    if arguments.shards:
        if arguments.mixtures is not None or arguments.hours is not None:
            raise RasedError(
                "--mixtures and --hours apply to mixtures: give a data section such as -c data/frames instead of "
                "SHARDS. All recordings of SHARDS are used."
            )
        return Recordings(arguments.shards)
    if arguments.mixtures is None and arguments.hours is None:
        raise RasedError("Give the number of mixtures: --mixtures 9000, or --hours 10.")
    recipe = _recipe(load_configs(arguments.config))
    count = arguments.mixtures
    if count is None:
        count = round(3600 * arguments.hours / recipe.scene.segment)
    if count < 1:
        raise RasedError(f"The number of mixtures is {count}: give --mixtures 1 or more.")
    return Mixtures(recipe.plan(), recipe.mixing, count)


def _recipe(config: dict[str, Any]) -> Any:
    """Return the part of a data section that determines the mixtures."""
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

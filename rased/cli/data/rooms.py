"""`rased data rooms`: simulated rooms as shards of impulse responses."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rased.cli.report import progress_bar

EXAMPLES = """\
examples:
  rased data rooms --out shards/rir --count 1000 --seed 1
  rased data rooms --out shards/rir --count 2000 --seed 1 --t60 0.2,0.6 --positions 2
  rased data rooms --out shards/rir --count 1000 --seed 1 --microphones 4 --spacing 0.04
  rased data rooms --out shards/rir --count 500 --seed 1 --split train=0.8,valid=0.1,test=0.1

Empty boxes of 2.5 x 2.5 x 2.3 to 10 x 8 x 4 m. The same command gives the same files for any --jobs;
a run that was cut off goes on when it is given again. The json of each response holds the geometry,
and T60 and direct-to-reverberant ratio as measured. A room is in one split only. Measured responses
are packed with `rased data pack DIR --role rir`. Needs pyroomacoustics: pip install 'rased[rooms]'.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `rased data rooms` understands."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the shards"
    )
    parser.add_argument("--count", type=int, required=True, metavar="N", help="number of rooms")
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="of all that is drawn")
    parser.add_argument(
        "--t60",
        type=_range,
        default="0.15,1.0",
        metavar="LOW,HIGH",
        help="range of the reverberation time in seconds; default 0.15,1.0",
    )
    parser.add_argument(
        "--positions",
        type=int,
        default=1,
        metavar="K",
        help="places of a microphone or array in a room, each a response of its own; default 1",
    )
    parser.add_argument(
        "--microphones",
        type=int,
        default=1,
        metavar="N",
        help="of an array, the channels of each response; default 1",
    )
    parser.add_argument(
        "--array", default="circle", choices=("circle", "line"), help="its shape; default circle"
    )
    parser.add_argument(
        "--spacing",
        type=float,
        default=0.05,
        metavar="M",
        help="metres from a microphone of the array to the next; default 0.05",
    )
    parser.add_argument(
        "--split",
        type=_shares,
        default="train",
        metavar="SHARES",
        help="a name, or shares of the rooms as train=0.8,valid=0.2; default train",
    )
    parser.add_argument(
        "--sample-rate", type=int, default=16_000, metavar="HZ", help="default 16000"
    )
    parser.add_argument("--codec", default="flac", choices=("flac", "pcm16"), help="default flac")
    parser.add_argument(
        "--shard-mb", type=float, default=16.0, metavar="N", help="megabytes a shard; default 16"
    )
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="processes; default one per core"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Simulate and tell what is there."""
    from rased.data.preparation.rooms import RoomRecipe, simulate

    recipe = RoomRecipe(
        count=arguments.count,
        seed=arguments.seed,
        t60=arguments.t60,
        positions=arguments.positions,
        splits=arguments.split,
        sample_rate=arguments.sample_rate,
        microphones=arguments.microphones,
        array=arguments.array,
        spacing=arguments.spacing,
    )
    with progress_bar("simulating") as progress:
        done = simulate(
            arguments.out,
            recipe=recipe,
            codec=arguments.codec,
            shard_mb=arguments.shard_mb,
            jobs=arguments.jobs,
            progress=progress,
        )
    if arguments.json:
        print(json.dumps({**asdict(done), "folder": str(done.folder)}, indent=1))
    else:
        again = f", {done.resumed} of them from an earlier run" if done.resumed else ""
        print(
            f"{done.folder}: {done.samples} responses of {recipe.count} rooms, {done.seconds:.1f} s, "
            f"{done.bytes / 1e6:.1f} MB{again}"
        )
    return 0


def _range(text: str) -> tuple[float, float]:
    """Read two numbers.

    >>> _range("0.2,0.6")
    (0.2, 0.6)
    """
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a range as 0.2,0.6") from error
    return low, high


def _shares(text: str) -> dict[str, float]:
    """Read a split or several with their shares.

    >>> _shares("train"), _shares("train=0.8,valid=0.2")
    ({'train': 1.0}, {'train': 0.8, 'valid': 0.2})
    """
    if "=" not in text:
        return {text: 1.0}
    try:
        pairs = (word.split("=") for word in text.split(","))
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        message = f"'{text}' is neither a split nor shares as train=0.8,valid=0.2"
        raise argparse.ArgumentTypeError(message) from error

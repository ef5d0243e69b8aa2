"""`rased data rooms`: simulate rooms and write their impulse responses as shards."""

import argparse
import json
from dataclasses import asdict

from rased.cli.options import add_choice, add_shards, add_value, engine, given
from rased.cli.report import progress_bar

EXAMPLES = """\
examples:
  rased data rooms --out shards/rir --count 1000 --seed 1
  rased data rooms --out shards/rir --count 2000 --seed 1 --t60 0.2,0.6 --positions 2
  rased data rooms --out shards/rir --count 1000 --seed 1 --microphones 4 --spacing 0.04
  rased data rooms --out shards/rir --count 500 --seed 1 --split train=0.8,valid=0.1,test=0.1

Rooms are empty boxes of 2.5 x 2.5 x 2.3 m to 10 x 8 x 4 m. The same command gives the same files for any --jobs;
run it again to continue an interrupted run. The JSON of each response holds the geometry, and the measured
T60 and direct-to-reverberant ratio. All responses of a room are in one split. To pack measured responses, use
`rased data pack DIR --role rir`. Needs pyroomacoustics: pip install 'rased[rooms]'.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data rooms`."""
    parser.add_argument("--count", type=int, required=True, metavar="N", help="number of rooms")
    parser.add_argument(
        "--seed", type=int, required=True, metavar="S", help="seed of all random choices"
    )
    parser.add_argument(
        "--t60",
        type=_range,
        default="0.15,1.0",
        metavar="LOW,HIGH",
        help="range of the reverberation time in seconds (default: %(default)s)",
    )
    places = "positions of the microphone or array in each room, with one response each"
    add_value(parser, "--positions", "K", 1, places)
    microphones = "microphones of the array, the channels of each response"
    add_value(parser, "--microphones", "N", 1, microphones)
    add_choice(parser, "--array", ("circle", "line"), "shape of the array")
    add_value(parser, "--spacing", "M", 0.05, "distance in metres between neighbouring microphones")
    parser.add_argument(
        "--split",
        dest="splits",
        type=_shares,
        default="train",
        metavar="SHARES",
        help="a split, or shares of the rooms such as train=0.8,valid=0.2 (default: %(default)s)",
    )
    add_shards(
        parser,
        "flac (half the size), pcm16 (fast to read)",
        rate="sample rate in Hz",
        shard_mb=16.0,
        jobs="number of processes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Simulate the rooms and print a summary."""
    from rased.data.preparation.geometry import RoomRecipe
    from rased.data.preparation.rooms import simulate

    recipe = RoomRecipe(**given(arguments, RoomRecipe))
    with engine(arguments), progress_bar("simulating") as progress:
        done = simulate(**given(arguments, simulate), recipe=recipe, progress=progress)
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
    """Parse two numbers.

    >>> _range("0.2,0.6")
    (0.2, 0.6)
    """
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a range; write it as 0.2,0.6") from error
    return low, high


def _shares(text: str) -> dict[str, float]:
    """Parse one split, or several with their shares.

    >>> _shares("train"), _shares("train=0.8,valid=0.2")
    ({'train': 1.0}, {'train': 0.8, 'valid': 0.2})
    """
    if "=" not in text:
        return {text: 1.0}
    try:
        pairs = (word.split("=") for word in text.split(","))
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        message = (
            f"'{text}' is neither a split nor a list of shares; write train, or train=0.8,valid=0.2"
        )
        raise argparse.ArgumentTypeError(message) from error

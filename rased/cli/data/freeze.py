"""`rased data freeze`: write a frozen test set of mixtures."""

import argparse

from rased.cli.options import add_choice, add_engine, add_value, engine, given, local_path, numbers
from rased.cli.report import duration, progress_bar
from rased.errors import RasedError

EXAMPLES = """\
examples:
  rased data freeze --speech bundle --noise bundle --rir bundle --out testset --count 60 --seed 1
  rased data freeze --speech shards/speech --noise shards/noise --out testset --count 200 --seed 1 \\
      --split valid --snr-db=-5:20 --seconds 6
  rased data freeze --speech bundle --noise bundle --out enrolled --count 60 --seed 1 --enrolment 3
  rased data freeze --pairs shards/pairs --out recorded --count 2 --seed 1 --split valid

--pairs takes recorded pairs as they are; of the other options, only --split and --name apply to them.
The same command writes the same files, hash for hash. list_sha256 in testset.json is their fingerprint.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data freeze`."""
    shards = "folder of shards, or 'bundle'"
    parser.add_argument("--speech", metavar="DIR", help=shards)
    parser.add_argument("--noise", metavar="DIR", help=shards)
    parser.add_argument(
        "--pairs", metavar="DIR", help="folder of recorded pairs, instead of --speech and --noise"
    )
    parser.add_argument("--rir", metavar="DIR", help=f"{shards} (default: no reverberation)")
    parser.add_argument("--out", type=local_path, required=True, metavar="DIR", help="new folder")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="number of mixtures")
    parser.add_argument(
        "--seed", type=int, required=True, metavar="S", help="seed of all random choices"
    )
    add_value(parser, "--microphones", "N", 1, "channels of the noisy files and of the responses")
    parser.add_argument(
        "--enrolment",
        type=float,
        metavar="S",
        help="seconds of another utterance of the same speaker for each mixture, for models that need an enrolment",
    )
    add_value(parser, "--split", "NAME", "test", "split of the shards")
    parser.add_argument(
        "--snr-db",
        type=_snr,
        default="0,5,10,15",
        metavar="LIST",
        help="values used in turn, or a range such as --snr-db=-5:20 (default: %(default)s)",
    )
    targets = ("early", "anechoic", "direct", "reverberant")
    add_choice(parser, "--target", targets, "what an enhancer should give")
    add_value(parser, "--early-ms", "MS", 50.0, "end of the early reflections")
    add_value(parser, "--seconds", "S", 4.0, "longest mixture")
    add_value(parser, "--min-seconds", "S", 2.0, "shortest utterance used")
    parser.add_argument(
        "--proportions",
        type=numbers,
        default="60,30,10",
        metavar="A,B,C",
        help="shares of noise, reverb+noise and reverb (default: %(default)s)",
    )
    parser.add_argument(
        "--level-dbfs",
        type=numbers,
        default="-32,-20",
        metavar="LOW,HIGH",
        help="range of the levels of the mixtures (default: --level-dbfs=%(default)s)",
    )
    parser.add_argument(
        "--name", default="", help="name of the set in results (default: the folder's name)"
    )
    add_engine(parser, "mixtures made in parallel, one thread each", usual=1)


def run(arguments: argparse.Namespace) -> int:
    """Write the set and print its fingerprint."""
    from rased.data.preparation.balanced import FrozenRecipe
    from rased.data.preparation.freeze import freeze
    from rased.data.preparation.recorded import freeze_pairs

    _check(arguments)
    if arguments.pairs:
        with engine(arguments), progress_bar("copying") as progress:
            testset = freeze_pairs(**given(arguments, freeze_pairs), progress=progress)
    else:
        arguments.snr_db, arguments.snr_range = arguments.snr_db  # `_snr` gives both
        recipe = FrozenRecipe(**given(arguments, FrozenRecipe))
        with engine(arguments), progress_bar("mixing") as progress:
            testset = freeze(**given(arguments, freeze), recipe=recipe, progress=progress)
    what = "pairs" if arguments.pairs else "mixtures"
    print(
        f"{arguments.out}: {testset['count']} {what}, {duration(testset['seconds'])}, "
        f"list_sha256 {testset['list_sha256']}"
    )
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Check that the sources are those of mixtures or pairs.

    Raises:
        RasedError: they are neither, or both.
    """
    mixed = [name for name in ("speech", "noise", "rir") if getattr(arguments, name)]
    if arguments.pairs and (mixed or arguments.enrolment or arguments.microphones != 1):
        raise RasedError(
            "--pairs was given with --speech, --noise, --rir, --enrolment or --microphones: a set has either pairs or "
            "mixtures."
        )
    if not arguments.pairs and not {"speech", "noise"} <= {*mixed}:
        raise RasedError("Give --speech and --noise, or --pairs.")


def _snr(text: str) -> tuple[tuple[float, ...], bool]:
    """Parse SNRs: values, or the two ends of a range.

    >>> _snr("0,5"), _snr("-5:20")
    (((0.0, 5.0), False), ((-5.0, 20.0), True))
    """
    return numbers(text.replace(":", ",")), ":" in text

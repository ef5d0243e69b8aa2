"""Options that several verbs share, and a conversion of options to the arguments of a function."""

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rased.errors import RasedError
from rased.fetch import without_credentials


def add_value(
    parser: argparse.ArgumentParser, name: str, metavar: str, default: int | float | str, help: str
) -> None:
    """Add an option with one value of the type of its default; the help shows the default."""
    shown = f"{default:g}" if isinstance(default, float) else default
    parser.add_argument(
        name,
        type=type(default),
        default=default,
        metavar=metavar,
        help=f"{help} (default: {shown})",
    )


def add_choice(
    parser: argparse.ArgumentParser, name: str, choices: Sequence[str], help: str
) -> None:
    """Add an option with a choice of values, the first by default; the help shows it."""
    parser.add_argument(
        name, choices=choices, default=choices[0], help=f"{help} (default: {choices[0]})"
    )


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add --allow: packages whose classes a checkpoint may build."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="allow a checkpoint to build classes of this package (this runs the code of the package)",
    )


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add --limit-db: the largest attenuation."""
    parser.add_argument(
        "--limit-db",
        type=float,
        metavar="DB",
        help="attenuate nothing by more than this many dB, such as 12: noise that the model would remove remains at "
        "this level (default: no limit)",
    )


def add_band(parser: argparse.ArgumentParser) -> None:
    """Add --band: what becomes of content above the band of the model."""
    add_choice(
        parser,
        "--band",
        ["full", "model"],
        "full: keep what lies above half the model's sample rate, under a gain that follows it; model: remove it",
    )


def add_condition(parser: argparse.ArgumentParser) -> None:
    """Add --condition: additional inputs of a model."""
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="additional input that the model needs, such as enrolment=anna.wav: an audio file, or .npy for an "
        "embedding; repeat the option for several",
    )


def add_config(parser: argparse.ArgumentParser, what: str, **more: Any) -> None:
    """Add -c: YAML files that are merged left to right."""
    text = f"{what}; repeatable, merged left to right"
    parser.add_argument("-c", "--config", action="append", metavar="YAML", help=text, **more)


def local_path(text: str) -> Path:
    """Return a path on this machine; refuse an address, which would become a folder of that name.

    >>> local_path("shards/speech").name
    'speech'
    """
    if "://" in text:
        message = (
            f"'{without_credentials(text)}' is an address: give a path on this machine, then upload shards with "
            "`rased data push`"
        )
        raise argparse.ArgumentTypeError(message)
    return Path(text)


def add_shards(
    parser: argparse.ArgumentParser, codecs: str, *, rate: str, shard_mb: float, jobs: str
) -> None:
    """Add the options of verbs that write shards: --out, --codec, --sample-rate, --shard-mb, --json and `add_engine`.

    Args:
        parser: parser of the verb.
        codecs: description of the formats, separated by commas, the default first.
        rate: what --sample-rate does.
        shard_mb: default of --shard-mb.
        jobs: what runs in parallel.
    """
    parser.add_argument(
        "--out", type=local_path, required=True, metavar="DIR", help="folder for the shards"
    )
    names = [part.split()[0] for part in codecs.split(", ")]
    add_choice(parser, "--codec", names, f"format of the samples: {codecs}")
    add_value(parser, "--sample-rate", "HZ", 16_000, rate)
    add_value(parser, "--shard-mb", "N", shard_mb, "megabytes in a shard")
    add_engine(parser, jobs)
    add_json(parser)


def add_engine(parser: argparse.ArgumentParser, jobs: str, *, usual: int = 0) -> None:
    """Add --engine, --address and --jobs; `engine` reads them.

    Args:
        parser: parser of the verb.
        jobs: what runs in parallel.
        usual: default of --jobs on this machine; 0: one per core.
    """
    text = (
        "local: on this machine; ray: on the nodes of a Ray cluster, which all see the same folders "
        "(pip install 'rased[ray]')"
    )
    add_choice(parser, "--engine", ("local", "ray"), text)
    parser.add_argument(
        "--address",
        default="",
        metavar="ADDRESS",
        help="with --engine ray: HOST:PORT of the cluster, or auto for the one that runs on this machine (default: "
        "$RAY_ADDRESS, else Ray is started on this machine for this command)",
    )
    shown = f"{usual}; with ray," if usual else "one per core;"
    text = f"{jobs} (default: {shown} one per CPU of a cluster)"
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help=text)
    parser.set_defaults(usual_jobs=usual)


@contextmanager
def engine(arguments: argparse.Namespace) -> Iterator[None]:
    """Replace the arguments `engine` and `jobs` by those of functions, for the time of the block.

    Raises:
        RasedError: they do not fit together, or Ray is not installed.
    """
    from rased.parallel import cluster

    if arguments.jobs < 0:
        raise RasedError(f"--jobs is {arguments.jobs}; give 1 or more, or 0 for the default.")
    if arguments.engine == "ray":
        with cluster(arguments.address, jobs=arguments.jobs) as arguments.engine:
            yield
        return
    if arguments.address:
        raise RasedError(
            "--address was given without --engine ray: add it, or leave out --address."
        )
    arguments.engine, arguments.jobs = None, arguments.jobs or arguments.usual_jobs
    yield


def add_bad(parser: argparse.ArgumentParser, share: float, what: str) -> None:
    """Add --max-bad and --allow-bad, which limit and accept unreadable items."""
    text = f"stop if more than this share of the {what} cannot be read"
    add_value(parser, "--max-bad", "SHARE", share, text)
    parser.add_argument(
        "--allow-bad", action="store_true", help=f"exit with 0 even if {what} were skipped"
    )


def add_json(parser: argparse.ArgumentParser, what: str = "a summary") -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def given(arguments: argparse.Namespace, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options that are also arguments of a function or dataclass, by name."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in vars(arguments).items() if name in names}


def numbers(text: str) -> tuple[float, ...]:
    """Parse numbers with commas between them.

    >>> numbers("60,30,10")
    (60.0, 30.0, 10.0)
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        message = f"'{text}' is not a list of numbers such as 0,5,10"
        raise argparse.ArgumentTypeError(message) from error

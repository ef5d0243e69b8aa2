"""The command line: one verb, one module; a verb's module is imported when that verb is asked for.

A module defines `add_arguments(parser)` and `run(arguments) -> int`; `train`, whose words
LightningCLI reads, defines `main(argv) -> int` instead.
"""

import argparse
import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rased.errors import ProblemsFound, RasedError, nearest
from rased.extras import install_command
from rased.fetch import without_credentials

SUCCESS, PROBLEMS, USAGE, INTERNAL, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 70, 130, 141


@dataclass(frozen=True)
class Verb:
    """One row of the table of verbs.

    Attributes:
        module: where its code is; imported only when the verb is used.
        help: one line for `rased --help`.
        own_parser: whether the module reads its words itself (`main(argv)`).
    """

    module: str
    help: str
    own_parser: bool = False


VERBS = {
    "demo": Verb("rased.cli.demo", "train, evaluate and compare on the bundled corpus"),
    "data": Verb("rased.cli.data", "pack and verify shards, freeze a test set, stream mixtures"),
    "train": Verb("rased.cli.train", "train from YAML files; resume a run", own_parser=True),
    "runs": Verb("rased.cli.runs", "runs on this disk: how far each came, compared, as curves"),
    "replay": Verb("rased.cli.replay", "write the batch of a training step as wavs"),
    "models": Verb("rased.cli.models", "every architecture: parameters, MACs, latency, paper"),
    "metrics": Verb("rased.cli.metrics", "every metric: unit, direction, range, what it needs"),
    "evaluate": Verb("rased.cli.evaluate", "score systems on a test set"),
    "leaderboard": Verb("rased.cli.leaderboard", "results side by side: table and page"),
    "enhance": Verb("rased.cli.enhance", "enhance files, folders or a raw PCM stream"),
    "zoo": Verb("rased.cli.zoo", "list, verify, publish, pull and import checkpoints"),
    "bench": Verb("rased.cli.bench", "measure loader, memory and inference on this machine"),
}

_EXTRA_OF = {"train": "train", "replay": "train", "evaluate": "eval", "leaderboard": "eval"}
"""The extra that a verb needs."""

DESCRIPTION = "Train, compare and load speech enhancement and dereverberation models."

EXAMPLES = """\
examples:
  rased demo                                           see everything once, in a few minutes
  rased zoo list                                       which checkpoints there are
  rased enhance noisy.wav -o clean.wav --model NAME    enhance a file with one of them
  rased train -c model/gru-mask -c data/bundle          train a network of your own
  rased VERB --help                                    what a verb takes, with examples

exit codes: 0 success, 1 the work found problems, 2 wrong usage or bad input, 130 interrupted.
"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes are RasedErrors with the nearest option."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option stops here, beside those that are known."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = re.findall(r"(?<![\w-])--[\w-]+", self.format_help())
            word = next((word for word in unknown if word.startswith("-")), unknown[0])
            hint = nearest(word.partition("=")[0], set(options)) if word.startswith("--") else ""
            self.error(f"'{word}' is not understood here; {hint}".rstrip("; "))
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        match = re.fullmatch(r".*invalid choice: '(.*)' \(choose from (.*)\)", message)
        if match:
            choices = [choice.strip("' ") for choice in match[2].split(",")]
            message = f"'{match[1]}' is not one of the choices; {nearest(match[1], choices)}"
        raise RasedError(f"{message.rstrip('.')} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; every RasedError becomes one sentence on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    _tolerate_encodings()
    try:
        return _dispatch([word for word in words if word != "--debug"])
    except KeyboardInterrupt:
        _complain("interrupted", debug)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left: no complaint, and none when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except ProblemsFound as problems:
        _complain(str(problems), debug)
        return PROBLEMS
    except RasedError as error:
        _complain(str(error), debug)
        return USAGE
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        _complain(f"{error.strerror or error}{where}", debug)
        return USAGE
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("rased"):
            _complain(_missing_package(error, next(iter(words), "")), debug)
            return USAGE
        what = f"{type(error).__name__}: {error}"
        _complain(f"internal error, {what} (add --debug for the traceback)", debug)
        return INTERNAL


def _tolerate_encodings() -> None:
    """Let a character that the terminal's encoding lacks become a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _dispatch(words: list[str]) -> int:
    parser = Parser(prog="rased", description=DESCRIPTION, epilog=_verbs() + "\n\n" + EXAMPLES)
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    parser.add_argument("--debug", action="store_true", help="show tracebacks (goes anywhere)")
    parser.add_argument("verb", nargs="?", metavar="VERB", help="one of the verbs below")
    parser.add_argument("rest", nargs="...", metavar="...", help="what the verb takes")

    # What stands before the verb is ours, what stands behind it is the verb's.
    position = next((at for at, word in enumerate(words) if not word.startswith("-")), len(words))
    try:
        ours = parser.parse_args(words[:position])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    if ours.version:
        from rased import __version__

        print(f"rased {__version__}")
        return SUCCESS
    if position == len(words):
        parser.print_help()
        return SUCCESS

    name, rest = words[position], words[position + 1 :]
    if name not in VERBS:
        raise RasedError(f"there is no verb '{name}'; {nearest(name, VERBS)} (see `rased --help`)")
    verb = VERBS[name]
    module = importlib.import_module(verb.module)
    if verb.own_parser:
        return int(module.main(rest))
    verb_parser = Parser(prog=f"rased {name}", description=module.__doc__)
    module.add_arguments(verb_parser)
    try:
        arguments = verb_parser.parse_args(rest)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return int(module.run(arguments))


def _verbs() -> str:
    width = max(map(len, VERBS))
    return "\n".join(
        ["verbs:", *(f"  {name:{width}}  {verb.help}" for name, verb in VERBS.items())]
    )


def _complain(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    line = without_credentials(" ".join(message.split()))
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    print(f"rased: {line}", file=sys.stderr)


def _missing_package(error: ModuleNotFoundError, verb: str) -> str:
    """Name the package that is missing and what brings it."""
    module = (error.name or "").partition(".")[0]
    command = install_command(module, prefer=_EXTRA_OF.get(verb, ""))
    if not command:  # a module of the user's own, or one that it imports
        return f"the Python module '{error.name}' cannot be found: install the package that provides it"
    return f"this needs the package '{module}': {command}"

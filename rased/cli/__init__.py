"""The command line: one module for each verb, imported only when the verb is used.

A module defines `add_arguments(parser)` and `run(arguments) -> int`. `train` is the exception: LightningCLI
parses its arguments, so it defines `main(argv) -> int` instead.
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
from rased.extras import missing_package
from rased.fetch import without_credentials

# 70 is EX_SOFTWARE of sysexits.h; 130 and 141 are 128 + SIGINT and 128 + SIGPIPE, as shells report them.
SUCCESS, PROBLEMS, USAGE, INTERNAL, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 70, 130, 141


@dataclass(frozen=True)
class Verb:
    """One row of the table of verbs.

    Attributes:
        module: the module to import when the verb is used.
        help: one line for `rased --help`.
        own_parser: whether the module parses its own arguments (`main(argv)`).
    """

    module: str
    help: str
    own_parser: bool = False


VERBS = {
    "demo": Verb("rased.cli.demo", "train, evaluate and compare on the bundled corpus"),
    "data": Verb("rased.cli.data", "pack and verify shards, freeze test sets, list mixtures"),
    "train": Verb("rased.cli.train", "train from YAML files; resume a run", own_parser=True),
    "runs": Verb("rased.cli.runs", "list runs, compare their settings, plot their curves"),
    "replay": Verb("rased.cli.replay", "write the batch of a training step as WAV files"),
    "models": Verb("rased.cli.models", "list architectures: parameters, MACs, latency, paper"),
    "metrics": Verb("rased.cli.metrics", "list metrics: unit, direction, range, requirements"),
    "evaluate": Verb("rased.cli.evaluate", "score systems on a test set"),
    "leaderboard": Verb("rased.cli.leaderboard", "compare results: table and HTML page"),
    "enhance": Verb("rased.cli.enhance", "enhance files, folders or a raw PCM stream"),
    "live": Verb("rased.cli.live", "enhance the microphone live, with meters"),
    "app": Verb("rased.cli.app", "compare models on a recording, in the browser"),
    "export": Verb("rased.cli.export", "write a graph for ONNX Runtime, browsers or LiteRT"),
    "zoo": Verb("rased.cli.zoo", "list, verify, publish, pull and import checkpoints"),
    "bench": Verb(
        "rased.cli.bench", "measure loading, training, memory and inference on this machine"
    ),
}

_EXTRA_OF = {
    **dict.fromkeys(("demo", "train", "replay"), "train"),
    **dict.fromkeys(("evaluate", "leaderboard"), "eval"),
    "export": "export",
    "live": "live",
}
"""The pip extra that each verb needs."""

DESCRIPTION = "Train, compare and load speech enhancement and dereverberation models."

EXAMPLES = """\
examples:
  rased demo                                           try everything once, in a few minutes
  rased zoo list                                       list the available checkpoints
  rased enhance noisy.wav -o clean.wav --model NAME    enhance a file with one of them
  rased train -c model/gru-mask -c data/bundle          train a network
  rased VERB --help                                    show the options of a verb, with examples

exit codes: 0 success, 1 problems found in data or results, 2 wrong usage or bad input, 130 interrupted.
"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises RasedError for a mistake and suggests the nearest option."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("allow_abbrev", False)
        super().__init__(**options)

    # `parse_args` and the parsers of sub-verbs both come through here.
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse, but stop at an unknown option and list the known ones."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            # All words of the help that look like options.
            options = re.findall(r"(?<![\w-])--[\w-]+", self.format_help())
            word = next((word for word in unknown if word.startswith("-")), unknown[0])
            hint = nearest(word.partition("=")[0], set(options)) if word.startswith("--") else ""
            self.error(f"unknown argument '{word}'; {hint}".rstrip("; "))
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Raise RasedError instead of printing the usage and exiting."""
        # The sentence of argparse.
        match = re.fullmatch(r".*invalid choice: '(.*)' \(choose from (.*)\)", message)
        if match:
            choices = [choice.strip("' ") for choice in match[2].split(",")]
            message = f"'{match[1]}' is not a valid choice; {nearest(match[1], choices)}"
        raise RasedError(f"{message.rstrip('.')} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; print a RasedError as one sentence on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    _tolerate_encodings()
    try:
        return _dispatch([word for word in words if word != "--debug"])
    except KeyboardInterrupt:
        _complain("interrupted", debug)
        return INTERRUPTED
    except BrokenPipeError:
        # The program that reads our output has closed the pipe: exit quietly, also when Python flushes stdout.
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
        # Without a module of rased itself, the fault is ours: an internal error.
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("rased"):
            prefer = _EXTRA_OF.get(next(iter(words), ""), "")
            _complain(missing_package(error, prefer=prefer), debug)
            return USAGE
        what = f"{type(error).__name__}: {error}"
        _complain(f"internal error, {what} (add --debug for the traceback)", debug)
        return INTERNAL


def _tolerate_encodings() -> None:
    """Print "?" for a character that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _dispatch(words: list[str]) -> int:
    parser = Parser(prog="rased", description=DESCRIPTION, epilog=_verbs() + "\n\n" + EXAMPLES)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show tracebacks (allowed anywhere)")
    parser.add_argument("verb", nargs="?", metavar="VERB", help="one of the verbs below")
    parser.add_argument("rest", nargs="...", metavar="...", help="the arguments of the verb")

    # Options before the verb belong to this parser, options after it to the verb.
    position = next((at for at, word in enumerate(words) if not word.startswith("-")), len(words))
    try:
        ours = parser.parse_args(words[:position])
    except SystemExit as leaving:  # --help
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
        raise RasedError(f"unknown verb '{name}'; {nearest(name, VERBS)} (see `rased --help`)")
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
    # Names of files may hold control sequences of the terminal.
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    print(f"rased: {line}", file=sys.stderr)

"""Enhance a file with an exported model: no PyTorch needed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rased.audio import printable
from rased.errors import RasedError
from rased.shelves import DEFAULT_MODEL


def main(argv: Sequence[str] | None = None) -> int:
    """Enhance one file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rased.onnx", description=__doc__)
    parser.add_argument("input", type=Path, metavar="IN", help="audio file of any rate")
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="file to write; its suffix is its format"
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="checkpoint of the zoo that has a graph, or folder that `rased export` wrote (default: "
        f"{DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--band",
        choices=("full", "model"),
        default="full",
        help="full: keep what lies above half the model's sample rate, under a gain that follows it; model: remove it",
    )
    arguments = parser.parse_args(argv)
    try:
        from rased.onnx.files import enhance_file
        from rased.onnx.runtime import load

        enhancer = load(arguments.model)
        report = enhance_file(arguments.input, arguments.output, enhancer, band=arguments.band)
    except RasedError as error:
        _say(f"rased: {error}")
        return 2
    except OSError as error:
        _say(f"rased: {error.strerror or error} '{error.filename or arguments.output}'")
        return 2
    except KeyboardInterrupt:
        _say("rased: interrupted")
        return 130
    except ModuleNotFoundError as error:
        print(
            f"rased: this needs the package '{error.name}': pip install 'rased[onnx]'",
            file=sys.stderr,
        )
        return 2
    for note in report.notes:
        _say(f"rased: {note}.")
    _say(f"{arguments.output}: {report.seconds:.1f} s in {report.elapsed:.1f} s")
    return 0


def _say(text: str) -> None:
    """Print a line, without the control characters that a name may hold."""
    print(printable(text), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

"""Enhance a file with an exported model: no PyTorch needed."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rased.errors import RasedError


def main(argv: Sequence[str] | None = None) -> int:
    """Enhance one file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rased.onnx", description=__doc__)
    parser.add_argument("input", type=Path, metavar="IN", help="audio file of any rate")
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="file to write; its suffix is its format"
    )
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="folder that `rased export` wrote"
    )
    arguments = parser.parse_args(argv)
    try:
        from rased.onnx.files import enhance_file
        from rased.onnx.runtime import load

        started = time.perf_counter()
        enhancer = load(arguments.model)
        seconds = enhance_file(arguments.input, arguments.output, enhancer)
    except RasedError as error:
        print(f"rased: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"rased: this needs the package '{error.name}': pip install 'rased[onnx]'",
            file=sys.stderr,
        )
        return 2
    elapsed = time.perf_counter() - started
    print(f"{arguments.output}: {seconds:.1f} s in {elapsed:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write a causal checkpoint as one graph for other runtimes: a chunk of the waveform in, a chunk out.

The short-time Fourier transform is inside, and the state goes in and out by name. The file says its rate, chunk length,
latency, licence and the hash of the weights. Examples in Python, C++ and JavaScript stand beside it. Before anything is
written, the graph is compared with PyTorch from random states.
"""

import argparse
from pathlib import Path

from rased.cli.options import add_allow, add_json

EXAMPLES = """\
examples:
  rased export gtcrn-tuned-16k --to onnx --out exported          ONNX, for Python, C++, JavaScript and others
  rased export gtcrn-tuned-16k --to onnx --out exported --int8   weights in 8 bits
  rased export gtcrn-tuned-16k --to onnx --out server --streams 8    eight live streams at a time, for a server
  rased export zoo/my-entry --to onnx --into-zoo                 into the entry itself: `rased.onnx` loads it by name
  rased export gtcrn-tuned-16k --to web --out page               the same graph, with a page and a module for browsers
  rased export gru-mask-16k --to litert --out phone              LiteRT, for Android, iOS and small devices

LiteRT's converter has an environment of its own; without it, --to litert prints how to make it.
Name the folder of --to onnx as --model of `rased enhance` and `rased live`.
Run it without PyTorch (pip install 'rased[onnx]'); without --model, the default checkpoint:
  python -m rased.onnx noisy.wav enhanced.wav --model exported
"""

TARGETS = ("onnx", "web", "litert")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased export`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "name",
        metavar="NAME",
        help="causal checkpoint: name in the zoo, folder of an entry or of a run, or URL",
    )
    parser.add_argument("--to", required=True, choices=TARGETS, help="kind of the graph")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", type=Path, metavar="DIR", help="folder to write")
    place.add_argument(
        "--into-zoo",
        action="store_true",
        help="write the graph into the entry NAME itself, so that `rased.onnx` loads it by name",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="weights in 8 bits (ONNX); the loss of PESQ is measured and stated",
    )
    parser.add_argument(
        "--streams",
        type=int,
        default=1,
        metavar="N",
        help="live streams that get a chunk at once (ONNX): each costs less than alone (default: 1)",
    )
    add_allow(parser)
    add_json(parser, "what the file says about itself")


def run(arguments: argparse.Namespace) -> int:
    """Export one checkpoint."""
    import torch

    from rased.cli.report import print_json
    from rased.export import export
    from rased.terminal import open_console
    from rased.zoo import find, load

    torch.set_num_threads(1)
    enhancer = load(arguments.name, allow=arguments.allow)
    facts = export(
        enhancer,
        arguments.name,
        to=arguments.to,
        out=arguments.out,
        int8=arguments.int8,
        streams=arguments.streams,
    )
    if arguments.json:
        print_json(facts)
        return 0
    console = open_console(soft_wrap=True)
    place = arguments.out or find(arguments.name)
    console.print(
        f"{place}: {facts['name']}, {facts['sample_rate']} Hz, chunks of {facts['chunk_length']} samples"
    )
    console.print(
        f"largest difference to PyTorch: {facts['max_error']:.1g}; licence of the weights: {facts['licence']}"
    )
    if facts["quantised"]:
        console.print(
            f"8 bits: PESQ {facts['pesq_int8']:.3f}, in 32 bits {facts['pesq_float']:.3f}, on {facts['testset']}"
        )
    return 0

"""Open a page in the browser to enhance a recording with several models and compare them.

Drop a file, record from the microphone, or pick an utterance of the bundled test set. Switching between the noisy
recording and the models keeps the position. The page has the strength (--limit-db of `rased enhance`), spectrograms,
DNSMOS before and after (with the extra `eval`), and downloads.

The server listens on this machine alone, and the page loads nothing from the network. Recordings stay on this machine,
in a temporary folder that is deleted at the end.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rased.cli.options import add_allow, add_value

EXAMPLES = """\
examples:
  rased app                                        then open the address that is printed; Ctrl-C ends it
  rased app --port 8080                            another port
  rased app --model gtcrn-tuned-16k --model runs/mine
                                                   compare these models; a run, a folder or any name of the zoo
"""

PORT = 7860
_SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows has no SIGHUP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased app`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="a model to offer, as in `rased enhance`; repeat the option for several (default: the checkpoints of the "
        "zoo and the classical methods)",
    )
    add_value(parser, "--port", "N", PORT, "port of the page; 0: any free one")
    add_value(
        parser,
        "--host",
        "ADDRESS",
        "127.0.0.1",
        "address to listen on; with another one, others in the network can use the page",
    )
    add_allow(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C, or a signal that ends the process."""
    from rased.app import Server

    with _interrupted_by(_SIGNALS):
        server = Server(arguments.host, arguments.port, arguments.model, allow=arguments.allow)
        print(f"rased: open {server.url} (Ctrl-C ends it)", file=sys.stderr)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
        finally:
            server.close()
    return 0


@contextmanager
def _interrupted_by(numbers: Sequence[int]) -> Iterator[None]:
    """Let signals do what Ctrl-C does, so that the recordings are deleted; those that are ignored (nohup) stay so."""
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in before.items():
            if handler is signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

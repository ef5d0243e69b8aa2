"""Peak memory of systems: measured in fresh processes, beside an evaluation."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch

from rased.evaluation.systems import System

SECONDS = 10.0
"""Of audio that is enhanced."""

_CHILD = "import sys; from rased.evaluation.memory import tell; tell(sys.argv[1])"


class MemoryOf:
    """Peak memory of systems, measured by other processes while this one goes on.

    For each of them a process of its own, with PyTorch and rased loaded and one thread, loads the
    system and enhances 10 s; its peak of resident memory less what it held before.
    """

    def __init__(self, systems: Sequence[System]) -> None:
        self._systems = systems
        self._process: subprocess.Popen[str] | None = None
        if systems:
            words = json.dumps([asdict(system) for system in systems])
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, words],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> "MemoryOf":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            with self._process:  # closes its pipe, waits for its end
                pass

    def megabytes(self) -> dict[str, float | None]:
        """By name of the system, when all are measured; None where its process died."""
        if self._process is None:
            return {}
        said, _ = self._process.communicate()
        found = [json.loads(line) for line in said.splitlines()]
        found += [None] * (len(self._systems) - len(found))
        return dict(zip((system.name for system in self._systems), found, strict=True))


def _peak() -> float:
    unit = 1e-6 if sys.platform == "darwin" else 1024e-6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@torch.inference_mode()
def _growth(system: System, pipe: Connection) -> None:
    """Megabytes that loading and enhancing take, in the process that this is called in."""
    torch.set_num_threads(1)
    before = _peak()
    enhancer = system.load()
    assert enhancer is not None, "only what enhances is measured"
    generator = torch.Generator().manual_seed(0)
    enhancer(0.1 * torch.randn(1, round(SECONDS * enhancer.sample_rate), generator=generator))
    pipe.send(round(_peak() - before, 1))


def tell(words: str) -> None:
    """Print the megabytes of systems, given as JSON, one line each."""
    context = get_context("fork")
    for plain in json.loads(words):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_growth, args=(System(**plain), theirs))
        process.start()
        theirs.close()
        try:
            found = ours.recv()
        except EOFError:
            found = None
        process.join()
        print(json.dumps(found), flush=True)

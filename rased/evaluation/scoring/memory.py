"""Peak memory of systems: measured in fresh processes, beside an evaluation."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

from rased.evaluation.scoring.systems import System
from rased.machine import kill_family, peak_memory

SECONDS = 10.0
"""Of audio that is enhanced."""

_CHILD = "import sys; from rased.evaluation.scoring.memory import tell; tell(sys.argv[1])"


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
                kill_family(self._process)
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


@torch.inference_mode()
def _growth(system: System, pipe: Connection) -> None:
    """Megabytes that loading and enhancing take, in the process that this is called in; None: not known."""
    torch.set_num_threads(1)
    before = peak_memory()
    enhancer = system.load()
    assert enhancer is not None, "only what enhances is measured"
    generator = torch.Generator().manual_seed(0)
    enhancer(0.1 * torch.randn(1, round(SECONDS * enhancer.sample_rate), generator=generator))
    after = peak_memory()
    pipe.send(None if before is None or after is None else round(after - before, 1))


def tell(words: str) -> None:
    """Print the megabytes of systems, given as JSON, one line each."""
    # A fork has PyTorch loaded already.
    context: Any = get_context("fork" if "fork" in get_all_start_methods() else "spawn")
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

"""Measure the peak memory of systems in separate processes, in parallel with an evaluation."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from rased.errors import RasedError
from rased.evaluation.scoring.systems import System
from rased.machine import kill_family, peak_memory
from rased.parallel import forked

SECONDS = 10.0
"""Seconds of audio to enhance."""

_CHILD = "import sys; from rased.evaluation.scoring.memory import tell; tell(sys.argv[1])"


class MemoryOf:
    """Peak memory of systems, measured by other processes while this one continues.

    For each system, a separate process, with PyTorch and rased imported and one thread, loads the
    system and enhances 10 s. The result is its peak resident memory minus the memory before loading.

    Args:
        systems: systems to measure.
        given: files of the conditions that some systems need, by name.
    """

    def __init__(self, systems: Sequence[System], given: Mapping[str, Path] | None = None) -> None:
        self._systems = systems
        self._process: subprocess.Popen[str] | None = None
        if systems:
            files = {name: str(path) for name, path in (given or {}).items()}
            words = json.dumps([[asdict(system) for system in systems], files])
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, words],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                # A session of its own: `kill_family` also ends the processes that it forks.
                start_new_session=True,
            )

    def __enter__(self) -> "MemoryOf":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                kill_family(self._process)
            with self._process:  # closes the pipe and waits for the process to end
                pass

    def megabytes(self) -> dict[str, float | None]:
        """Return the result by name of the system, after all are measured; None if its process died."""
        if self._process is None:
            return {}
        said, _ = self._process.communicate()
        found = [json.loads(line) for line in said.splitlines()]
        # A child that ends early leaves the last systems without a line.
        found += [None] * (len(self._systems) - len(found))
        return dict(zip((system.name for system in self._systems), found, strict=True))


@torch.inference_mode()
def _growth(system: System, given: Mapping[str, str]) -> float | None:
    """Return the megabytes that loading and enhancing add to this process; None if unknown."""
    torch.set_num_threads(1)
    before = peak_memory()
    enhancer = system.load()
    assert enhancer is not None, "only systems that enhance are measured"
    generator = torch.Generator().manual_seed(0)
    shape = (1,) if enhancer.channels == 1 else (1, enhancer.channels)
    noisy = torch.randn(*shape, round(SECONDS * enhancer.sample_rate), generator=generator)
    enhancer(0.1 * noisy, condition={name: given[name] for name in enhancer.conditions})
    after = peak_memory()
    return None if before is None or after is None else round(after - before, 1)


def tell(words: str) -> None:
    """Print the megabytes of systems, given as JSON with their conditions, one line each."""
    systems, given = json.loads(words)
    for plain in systems:
        try:
            found = forked(_growth, System(**plain), given)  # a fork has PyTorch loaded already
        except RasedError:
            found = None
        print(json.dumps(found), flush=True)

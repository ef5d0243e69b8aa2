"""Processor seconds of one chunk after another.

This file imports nothing of rased, so that the environment of LiteRT's converter can run it, too: `python costs.py
FOLDER COUNT` times model.tflite, from the state in check.npz, and writes costs.npy.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[np.ndarray, Any], tuple[Any, Any]]
WARM_UP = 20
"""Chunks that are not measured: memory is allocated, and kernels are chosen."""


def costs_of(step: Step, state: Any, length: int, count: int) -> np.ndarray:
    """Return the processor seconds of each of so many steps: other processes have little effect on these."""
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal(64 * length)).astype(np.float32)
    chunks = noise.reshape(64, length)
    costs = []
    for number in range(WARM_UP + count):
        started = time.process_time()
        _, state = step(chunks[number % 64], state)
        costs.append(time.process_time() - started)
    return np.array(costs[WARM_UP:])


def main(folder: Path, count: int) -> None:
    """Time the graph of LiteRT in a folder."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(folder / "model.tflite"), num_threads=1).get_signature_runner()
    check = np.load(folder / "check.npz")
    names = [name for name in check.files if name != "chunk"]  # in the order of the graph

    def step(chunk: np.ndarray, state: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        after = run(**{f"args_{at}": one for at, one in enumerate([chunk[None], *state])})
        return after["output_0"], [after[f"output_{at + 1}"] for at in range(len(state))]

    length = check["chunk"].shape[1]
    np.save(folder / "costs.npy", costs_of(step, [check[name] for name in names], length, count))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

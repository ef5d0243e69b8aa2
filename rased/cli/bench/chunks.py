"""Time one chunk after another of causal checkpoints, in PyTorch and in ONNX Runtime, on one thread."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rased.errors import RasedError

Step = Callable[[np.ndarray, Any], tuple[Any, Any]]
WARM_UP = 20
"""Chunks that are not measured: memory is allocated, and kernels are chosen."""


def figures_of(name: str, seconds: float) -> dict[str, Any]:
    """Return real-time factor, median and 99th percentile of a chunk in PyTorch and in ONNX Runtime."""
    enhancer, exported, reason = both(name)
    assert enhancer.chunk_length is not None
    count = max(2, round(seconds * enhancer.sample_rate / enhancer.chunk_length))
    chunk_ms = 1000 * enhancer.chunk_length / enhancer.sample_rate
    values: dict[str, Any] = {"chunk_ms": chunk_ms}
    if getattr(enhancer, "exported", None) is None:
        values |= summed_up("stream", torch_costs(enhancer, count), chunk_ms)
    if exported is None:
        return {**values, "onnx": reason}
    costs = costs_of(exported.step, exported.initial_state(), exported.chunk_length, count)
    return {**values, **summed_up("onnx", costs, chunk_ms)}


def both(name: str) -> tuple[Any, Any, str]:
    """Return a checkpoint, and its graph in ONNX Runtime: None, and the reason, where there is none."""
    from rased.zoo import load

    enhancer = load(name)
    if (exported := getattr(enhancer, "exported", None)) is not None:  # a folder of `rased export`
        return enhancer, exported, ""
    try:
        from rased.export.targets import described_graph
        from rased.onnx import Enhancer as Exported
        from rased.onnx.runtime import session_of

        content, facts = described_graph(enhancer, Path(name).name)
    except RasedError as error:
        return enhancer, None, str(error)
    except ModuleNotFoundError as error:
        return enhancer, None, f"needs the package '{error.name}': pip install 'rased[export]'"
    return enhancer, Exported(session_of(content), facts), ""


def torch_costs(enhancer: Any, count: int) -> np.ndarray:
    """Return the processor seconds of each of so many steps of PyTorch."""
    import torch

    def step(chunk: np.ndarray, state: Any) -> tuple[Any, Any]:
        return enhancer.step(torch.from_numpy(chunk)[None], state)

    with torch.inference_mode():
        return costs_of(step, enhancer.initial_state(), enhancer.chunk_length, count)


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


def summed_up(kind: str, costs: np.ndarray, chunk_ms: float) -> dict[str, float]:
    """Return the real-time factor of a kind, and median and 99th percentile of a chunk in milliseconds."""
    return {
        kind: float(1000 * costs.mean() / chunk_ms),
        f"{kind}_p50_ms": float(1000 * np.quantile(costs, 0.5)),
        f"{kind}_p99_ms": float(1000 * np.quantile(costs, 0.99)),
    }

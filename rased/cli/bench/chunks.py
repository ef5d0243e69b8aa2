"""Time the chunks of causal checkpoints on one thread: in PyTorch, ONNX Runtime and LiteRT."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rased.cli.bench import costs
from rased.cli.bench.costs import costs_of
from rased.errors import RasedError


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint and its graph.

    Attributes:
        enhancer: what `rased.load` gives.
        exported: the graph in ONNX Runtime; None if there is none.
        content: the file of the graph; b"" if the checkpoint is itself an exported graph.
        reason: why there is no graph.
    """

    enhancer: Any
    exported: Any = None
    content: bytes = b""
    reason: str = ""


def figures_of(checkpoint: Checkpoint, seconds: float) -> dict[str, Any]:
    """Return real-time factor, median and 99th percentile of a chunk in each runtime, or why one cannot be measured."""
    enhancer, exported = checkpoint.enhancer, checkpoint.exported
    count = max(2, round(seconds * enhancer.sample_rate / enhancer.chunk_length))
    chunk_ms = 1000 * enhancer.chunk_length / enhancer.sample_rate
    values: dict[str, Any] = {"chunk_ms": chunk_ms}
    if exported is None or checkpoint.content:
        values |= summed_up("stream", torch_costs(enhancer, count), chunk_ms)
    if exported is None:
        return {**values, "onnx": checkpoint.reason, "litert": checkpoint.reason}
    found = costs_of(exported.step, exported.initial_state(), exported.chunk_length, count)
    values |= summed_up("onnx", found, chunk_ms)
    try:
        return {**values, **summed_up("litert", litert_costs(checkpoint, count), chunk_ms)}
    except RasedError as error:
        return {**values, "litert": str(error)}


def opened(name: str) -> Checkpoint:
    """Load a checkpoint, and export it in memory if that is possible."""
    from rased.zoo import load

    enhancer = load(name)
    if (exported := getattr(enhancer, "exported", None)) is not None:  # a folder of `rased export`
        return Checkpoint(enhancer, exported)
    try:
        return Checkpoint(enhancer, *graph_of(enhancer, Path(name).name))
    except RasedError as error:
        return Checkpoint(enhancer, reason=str(error))
    except ModuleNotFoundError as error:
        reason = f"needs the package '{error.name}': pip install 'rased[export]'"
        return Checkpoint(enhancer, reason=reason)


def graph_of(enhancer: Any, name: str, *, streams: int = 1) -> tuple[Any, bytes]:
    """Return the graph of a checkpoint for so many streams at once, in ONNX Runtime, and its file.

    Raises:
        RasedError: the checkpoint cannot be exported.
    """
    from rased.export.targets import described_graph
    from rased.onnx import Enhancer as Exported
    from rased.onnx.runtime import session_of

    content, facts = described_graph(enhancer, name, streams=streams)
    return Exported(session_of(content), facts), content


def torch_costs(enhancer: Any, count: int) -> np.ndarray:
    """Return the processor seconds of each of so many steps of PyTorch."""
    import torch

    def step(chunk: np.ndarray, state: Any) -> tuple[Any, Any]:
        return enhancer.step(torch.from_numpy(chunk)[None], state)

    with torch.inference_mode():
        return costs_of(step, enhancer.initial_state(), enhancer.chunk_length, count)


def litert_costs(checkpoint: Checkpoint, count: int) -> np.ndarray:
    """Return the processor seconds of each of so many steps of LiteRT.

    Raises:
        RasedError: there is no environment with the converter, or it cannot convert the graph.
    """
    if not checkpoint.content:
        raise RasedError("a graph is not converted: name the checkpoint that it was made from")
    from rased.export import litert

    if not litert.installed():
        raise RasedError(
            f"{litert.VARIABLE} is not the Python of an environment with LiteRT's converter: `rased export NAME --to "
            "litert --out DIR` prints how to make it"
        )
    name, exported = checkpoint.exported.facts["name"], checkpoint.exported
    with tempfile.TemporaryDirectory(prefix="rased-bench-") as scratch:
        folder = Path(scratch)
        litert.convert(checkpoint.enhancer, exported, checkpoint.content, folder)
        litert.run_there(Path(costs.__file__), folder, str(count), name=name)
        found: np.ndarray = np.load(folder / "costs.npy")
    return found


def summed_up(kind: str, costs: np.ndarray, chunk_ms: float) -> dict[str, float]:
    """Return the real-time factor of a kind, and median and 99th percentile of a chunk in milliseconds."""
    return {
        kind: float(1000 * costs.mean() / chunk_ms),
        f"{kind}_p50_ms": float(1000 * np.quantile(costs, 0.5)),
        f"{kind}_p99_ms": float(1000 * np.quantile(costs, 0.99)),
    }

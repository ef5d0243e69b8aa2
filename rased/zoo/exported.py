"""A graph that `rased export` wrote, as an enhancer: ONNX Runtime computes each step."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rased.errors import RasedError
from rased.models.base import Condition, Enhancer, Generators, Prediction, State
from rased.onnx import load
from rased.onnx.runtime import graph_of
from rased.signal.domains import Waveform


class Exported(Enhancer):
    """An exported graph; a row of a batch is a stream of its own.

    The hash of the graph is a buffer, so that it belongs to the identity of the enhancer.

    Args:
        path: the folder that `rased export` wrote, or the .onnx file in it.

    Raises:
        RasedError: it is not an exported graph.
    """

    graph_sha256: Tensor

    def __init__(self, path: str) -> None:
        super().__init__()
        graph = graph_of(path)
        if not graph.is_file() and (Path(path) / "model.tflite").is_file():
            raise RasedError(
                f"'{path}' holds a graph for LiteRT, which rased does not run: write one with `rased export NAME --to "
                "onnx --out DIR`."
            )
        self.exported = load(path)
        self.exported.refuse_several()
        self.sample_rate = self.exported.sample_rate
        self.chunk_length, self.latency = self.exported.chunk_length, self.exported.latency
        self.paper = str(self.exported.facts.get("paper", ""))
        digest = hashlib.sha256(graph.read_bytes()).digest()
        self.register_buffer("graph_sha256", torch.tensor(list(digest), dtype=torch.uint8))

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Enhance whole recordings, chunk by chunk."""
        time, length = noisy.shape[-1], self.exported.chunk_length
        late = self.exported.latency
        padded = functional.pad(noisy, (0, late + -(time + late) % length))
        estimate, _ = self.step(padded, self.initial_state(len(noisy)))
        return Prediction(estimate[:, late : late + time])

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the state before the first chunk, with an axis for the rows in front."""
        start = self.exported.initial_state()
        device = self.graph_sha256.device
        return {
            name: torch.from_numpy(np.stack([one] * batch)).to(device)
            for name, one in start.items()
        }

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Enhance the next samples of each row, on the CPU; the result is where the chunk was."""
        arrays = {name: _array(tensor) for name, tensor in state.items()}
        rows, after = [], []
        for number, row in enumerate(_array(chunk)):
            before = {name: array[number] for name, array in arrays.items()}
            estimate, one = self.exported.step(np.ascontiguousarray(row), before)
            rows.append(estimate)
            after.append(one)
        following = {
            name: _stacked([one[name] for one in after]).to(chunk.device) for name in state
        }
        return _stacked(rows).to(chunk.device), following


def _array(tensor: Tensor) -> np.ndarray:
    """Return a tensor of any device and precision as an array; usually without a copy."""
    array: np.ndarray = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _stacked(rows: list[np.ndarray]) -> Tensor:
    # One row, as of a microphone, is not copied.
    return torch.from_numpy(rows[0][None] if len(rows) == 1 else np.stack(rows))

"""One step of every causal architecture leaves PyTorch: `torch.export` and ONNX give what it gives, from any state."""

import io
import logging

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from rased.models.base import Enhancer, State
from tests.models.test_contract import CONFIGS, audio, make

FAST = ("gru-mask", "dtln")
"""Exporting one takes seconds, and the larger ones half a minute."""
CHUNKS = 200
pytestmark = pytest.mark.filterwarnings("ignore")  # of the exporter, about itself


class Step(nn.Module):
    """`Enhancer.step` as the forward pass of a module."""

    def __init__(self, enhancer: Enhancer) -> None:
        super().__init__()
        self.enhancer = enhancer

    def forward(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        return self.enhancer.step(chunk, state)


def random_state(enhancer: Enhancer, seed: int) -> State:
    """A state that sound has led to, every number of it then turned up or down and shifted."""
    generator = torch.Generator().manual_seed(seed)
    heard = 0.1 * torch.randn(1, 8 * enhancer.chunk_length, generator=generator)
    _, state = enhancer.step(heard, enhancer.initial_state())
    return {
        name: tensor * (0.5 + torch.rand(tensor.shape, generator=generator))
        + 0.1 * torch.rand(tensor.shape, generator=generator)
        for name, tensor in state.items()
    }


def onnx_of(program: torch.export.ExportedProgram, state: State) -> onnxruntime.InferenceSession:
    """The program in ONNX; inputs and outputs are called as the leaves of the state."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = [f"{name} after" for name in state]
    made = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=["chunk", *state],
        output_names=["estimate", *names],
    )
    file = io.BytesIO()
    made.save(file)
    return onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS],
)
def test_an_exported_step_equals_ours_from_random_states(name):
    enhancer = make(name)
    if enhancer.chunk_length is None:
        pytest.skip("it needs the whole utterance")
    state = random_state(enhancer, 1)
    chunks = audio(CHUNKS * enhancer.chunk_length, batch=1).split(enhancer.chunk_length, dim=-1)
    program = torch.export.export(Step(enhancer), (chunks[0], state), strict=False)
    exported, session = program.module(), onnx_of(program, state)
    of_export, of_onnx = state, {leaf: tensor.numpy() for leaf, tensor in state.items()}
    for number, chunk in enumerate(chunks):
        estimate, state = enhancer.step(chunk, state)
        if number < 5:  # the same operators: differences would show at once
            again, of_export = exported(chunk, of_export)
            torch.testing.assert_close(again, estimate, rtol=0, atol=1e-6)
        found, *after = session.run(None, {"chunk": chunk.numpy(), **of_onnx})
        of_onnx = dict(zip(of_onnx, after, strict=True))
        torch.testing.assert_close(torch.from_numpy(found), estimate, rtol=0, atol=1e-5)
    for leaf, tensor in state.items():
        assert of_onnx[leaf].shape == tuple(tensor.shape), leaf

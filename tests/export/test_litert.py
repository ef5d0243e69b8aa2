"""`rased export --to litert`: the graph as a module, and the converter in its own environment."""

import os

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from rased.errors import RasedError
from rased.export import export, litert
from rased.export.litert_convert import OPERATORS, Graph
from rased.export.step import random_state


def test_the_graph_as_a_module_gives_what_torch_gives(enhancer, folder):
    module, state = Graph(onnx.load(folder / "model.onnx")), random_state(enhancer, 3)
    chunk = 0.1 * torch.randn(1, enhancer.chunk_length)
    with torch.no_grad():
        wanted, after = enhancer.step(chunk, state)
        found, *states = module(chunk, *state.values())
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-5)
    for name, tensor in zip(after, states, strict=True):
        np.testing.assert_allclose(tensor.numpy(), after[name].numpy(), atol=1e-4, err_msg=name)


class Recurrent(torch.nn.Module):
    """Every recurrent layer, in one direction and in two; exporting four graphs takes four times as long."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            kind(5, 4, bidirectional=way)
            for kind in (torch.nn.GRU, torch.nn.LSTM)
            for way in (False, True)
        )

    def forward(self, sequence):
        return tuple(layer(sequence)[0] for layer in self.layers)


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
def test_recurrent_layers_are_those_of_torch():
    torch.manual_seed(0)
    layers = Recurrent().eval()
    exported = torch.onnx.export(layers, (torch.randn(6, 2, 5),), dynamo=True, verbose=False)
    sequence = torch.randn(6, 2, 5)
    with torch.no_grad():
        found, wanted = Graph(exported.model_proto)(sequence), layers(sequence)
    assert len(found) == len(wanted) == 4
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
def test_convolutions_are_those_of_torch(rank):
    """Transposed ones, too, which the converter gets as plain ones."""
    random = np.random.default_rng(rank)
    plain = (functional.conv1d, functional.conv2d)[rank - 1]
    transposed = (functional.conv_transpose1d, functional.conv_transpose2d)[rank - 1]
    for _ in range(40):
        strides, dilations, sizes = (random.integers(1, 4, rank).tolist() for _ in range(3))
        reach = [d * (size - 1) for d, size in zip(dilations, sizes, strict=True)]
        pads = [int(random.integers(0, most + 1)) for most in reach]
        extra = [int(random.integers(0, stride)) for stride in strides]
        groups, bias = int(random.choice([1, 2, 4])), torch.randn(8)
        values = torch.randn(2, 4, *(11 for _ in sizes))
        attributes = {"strides": strides, "dilations": dilations, "pads": [*pads, *pads]}
        attributes |= {"group": groups, "output_padding": extra}
        options = {"stride": strides, "dilation": dilations, "padding": pads, "groups": groups}
        there, back = torch.randn(8, 4 // groups, *sizes), torch.randn(4, 8 // groups, *sizes)
        found = OPERATORS["Conv"]([values, there, bias], attributes)
        wanted = plain(values, there, bias, **options)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
        found = OPERATORS["ConvTranspose"]([values, back, bias], attributes)
        wanted = transposed(values, back, bias, output_padding=extra, **options)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_without_its_environment_the_target_says_how_to_make_it(enhancer, tmp_path, monkeypatch):
    monkeypatch.delenv(litert.VARIABLE, raising=False)
    with pytest.raises(RasedError, match=r"python3 -m venv litert-env .* pip install|pip install"):
        export(enhancer, "tiny", to="litert", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_environment_is_named(enhancer, tmp_path, monkeypatch):
    monkeypatch.setenv(litert.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(RasedError, match=r"RASED_LITERT is '.*gone': no such file\. LiteRT's"):
        export(enhancer, "tiny", to="litert", out=tmp_path / "out")


@pytest.mark.slow
def test_litert_gives_what_torch_gives(enhancer, tmp_path):
    if not os.environ.get(litert.VARIABLE):
        pytest.skip(f"{litert.VARIABLE} is not set: {litert.RECIPE}")
    facts = export(enhancer, "tiny", to="litert", out=tmp_path)
    assert 0 < facts["max_error"] < 1e-5
    assert (tmp_path / "model.tflite").stat().st_size > 1_000

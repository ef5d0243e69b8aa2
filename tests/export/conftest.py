"""An exported enhancer that several tests look at."""

import pytest
import torch

from rased.export import export
from rased.export.targets import described_graph, write
from rased.models.registry import create_model
from tests.models.test_contract import audio


@pytest.fixture(scope="session")
def enhancer():
    """A small causal network with random weights, an attenuation limit, and a level that runs along."""
    torch.manual_seed(0)
    network = {
        "class_path": "rased.models.gru.NSNet2",
        "init_args": {"hidden": 16, "expansion": 16},
    }
    made = create_model(
        "gru-mask",
        network=network,
        level={"running": True},
        post_processing={"attenuation_limit_db": 12.0},
    ).eval()
    made.fit_statistics([(audio(8_000), audio(8_000, seed=1))])
    return made


@pytest.fixture(scope="session")
def graph(enhancer):
    """Its graph, and what it says about itself."""
    return described_graph(enhancer, "tiny")


@pytest.fixture(scope="session")
def several(enhancer, tmp_path_factory):
    """The folder of its graph for three streams at once."""
    out = tmp_path_factory.mktemp("several")
    export(enhancer, "tiny", to="onnx", out=out, streams=3)
    return out


@pytest.fixture(scope="session")
def folder(graph, tmp_path_factory):
    """The folder that `rased export --to onnx` writes for it."""
    out = tmp_path_factory.mktemp("exported")
    write(out, *graph, "onnx")
    return out

"""One step of every causal architecture leaves PyTorch: its graph gives what it gives, from any state."""

import pytest
import torch

from rased.export.graph import step_graph
from rased.export.targets import difference, facts_of
from rased.onnx import Enhancer as Exported
from rased.onnx.runtime import session_of
from tests.models.test_contract import CONFIGS, make

FAST = ("dtln",)
"""Exporting one takes seconds, and the larger ones half a minute; tests/export has a gru-mask."""


@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS],
)
def test_an_exported_step_equals_ours_from_random_states(name):
    enhancer = make(name)
    if enhancer.chunk_length is None:
        pytest.skip("it needs the whole utterance")
    torch.manual_seed(0)
    facts = facts_of(enhancer, name)
    exported = Exported(session_of(step_graph(enhancer, name).SerializeToString()), facts)
    assert difference(enhancer, exported) < 1e-5

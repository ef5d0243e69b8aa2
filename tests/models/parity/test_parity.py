"""Our networks against outputs of the authors' own code, on the same seeded weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.models.parity.ours import OURS
from tests.models.parity.record import SOURCES

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.safetensors")))
def test_our_output_is_that_of_the_authors_code(name):
    with safe_open(HERE / f"{name}.safetensors", "pt") as file:
        recorded = {key: file.get_tensor(key) for key in file.keys()}
        metadata = file.metadata()
    assert metadata["commit"] == SOURCES[name][1]
    found = OURS[name](recorded, json.loads(metadata["shapes"]))
    for key, ours in found.items():
        torch.testing.assert_close(ours, recorded[key], rtol=0, atol=1e-4)
        assert recorded[key].abs().max() > 1e-2, "says nothing"


def test_every_recording_has_its_maker():
    assert {path.stem for path in HERE.glob("*.safetensors")} == set(SOURCES) == set(OURS)

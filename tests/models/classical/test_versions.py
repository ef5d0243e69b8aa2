"""A method without weights gives what its version gave: `version` tells results of before and after a change apart.

python -m tests.models.classical.test_versions    # record, after `version` was raised
"""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from rased import audio
from rased.models.classical import METHODS
from tests import EXCERPTS

RECORDED = Path(__file__).with_name("versions.safetensors")
EVERY = 8
"""Every eighth sample of the second second is kept."""


def heard(name):
    samples, _ = audio.read(EXCERPTS / "noisy" / "m0008.flac", sample_rate=16_000)
    with torch.no_grad():
        estimate = METHODS[name]()(torch.from_numpy(samples[:, :32_000]))
    return {f"{name} {METHODS[name].version}": estimate[0, 16_000::EVERY].contiguous()}


@pytest.mark.parametrize("name", METHODS)
def test_the_output_is_that_of_the_version(name):
    recorded = safetensors.torch.load_file(RECORDED)
    ((key, estimate),) = heard(name).items()
    assert key in recorded, f"{key} is not recorded: see the head of {Path(__file__).name}"
    difference = float((estimate - recorded[key]).abs().max() / recorded[key].abs().max())
    assert difference < 1e-4, f"{name} gives another output: raise its version, and record it"


if __name__ == "__main__":
    found = {key: value for name in METHODS for key, value in heard(name).items()}
    safetensors.torch.save_file(found, RECORDED)

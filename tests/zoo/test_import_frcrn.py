"""The importer of FRCRN. That a converted state gives the mask of the authors' code, tests/models/parity holds."""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from rased.building import build
from rased.classes import STRANGERS
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.zoo.importers import IMPORTERS
from tests.models.parity.theirs import seeded_state

RECORDED = Path(__file__).parent.parent / "models" / "parity" / "frcrn.safetensors"
NARROW = {128: 8, 256: 16, 16: 1}
"""Sizes of a network with 8 channels instead of 128."""


@functools.cache
def state() -> dict[str, torch.Tensor]:
    """Seeded weights with the authors' names."""
    with safe_open(RECORDED, "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
    narrow = {name: [NARROW.get(size, size) for size in shape] for name, shape in shapes.items()}
    return seeded_state(narrow)


def authors_file(path: Path, **changes: torch.Tensor) -> Path:
    """A checkpoint as the authors'."""
    # From several GPUs; the lists of layers name the same tensors again; the transform is in the file.
    theirs = {f"module.{name}": value for name, value in state().items()}
    again = {"module.unet.encoders.0.bn.bn_re.weight": torch.zeros(8)}
    transform = {"module.stft.weight": torch.zeros(642, 1, 640)}
    torch.save({"model": {**theirs, **again, **transform, **changes}}, path)
    return path


def test_every_weight_is_read(tmp_path):
    spec, weights, facts = IMPORTERS["frcrn"](authors_file(tmp_path / "last_best_checkpoint.pt"))
    assert facts["licence"]["code"] == facts["licence"]["weights"] == "Apache-2.0"
    enhancer = build(Enhancer, spec, classes=STRANGERS).eval()
    enhancer.load_state_dict(weights)
    kernel = state()["unet2.decoder3.transconv.tconv_im.weight"]
    found = enhancer.get_parameter("network.second.up.3.0.imaginary.weight")
    torch.testing.assert_close(found, kernel.transpose(2, 3), rtol=0, atol=0)
    norm = [state()[f"unet.encoder2.bn.bn_{part}.running_var"] for part in ("re", "im")]
    assert enhancer.get_buffer("network.first.down.2.1.running_var").equal(torch.cat(norm))
    with torch.no_grad():
        assert enhancer(torch.zeros(1, 1_000)).shape == (1, 1_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": torch.zeros(1)},
        {"module.unet.encoder0.surprise": torch.zeros(1)},
        {"module.unet.encoder1.bn.bn_im.weight": torch.zeros(3)},
        {"module.unet2.linear.conv_re.bias": torch.zeros(2)},
    ],
    ids=["more", "more in a layer", "half a norm", "another size"],
)
def test_what_is_no_checkpoint_of_it_is_refused(tmp_path, changes):
    with pytest.raises(RasedError, match="is not a checkpoint of"):
        IMPORTERS["frcrn"](authors_file(tmp_path / "x.pt", **changes))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "x.pt")
    with pytest.raises(RasedError):
        IMPORTERS["frcrn"](tmp_path / "x.pt")

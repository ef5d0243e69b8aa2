"""The importers of MP-SENet and CMGAN: a state of the authors' in, the spectra of their code out."""

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

RECORDED = Path(__file__).parent.parent / "models" / "parity"
KEYS = {"mp-senet": "generator", "cmgan": ""}


def authors_file(path: Path, name: str, **changes: torch.Tensor) -> Path:
    """A checkpoint as the authors', of seeded weights."""
    with safe_open(RECORDED / f"{name}.safetensors", "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
    state = {**seeded_state(shapes), **changes}
    torch.save({KEYS[name]: state} if KEYS[name] else state, path)
    return path


@pytest.mark.parametrize("name", KEYS)
def test_the_imported_one_gives_the_spectra_of_their_code(tmp_path, name):
    spec, weights, facts = IMPORTERS[name](authors_file(tmp_path / "g_best", name))
    assert facts["licence"]["weights"] == "MIT"
    enhancer = build(Enhancer, spec, classes=STRANGERS).eval()
    enhancer.load_state_dict(weights)
    assert enhancer.mirrors
    with safe_open(RECORDED / f"{name}.safetensors", "pt") as file:
        noisy, wanted = file.get_tensor("noisy"), file.get_tensor("spectrum")
    with torch.no_grad():
        found = torch.view_as_real(enhancer.predict(noisy).output)
    found = found.permute(0, 2, 1, 3)[:, :, ::5]
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4)  # as in test_parity


@pytest.mark.parametrize("name", KEYS)
def test_what_is_no_checkpoint_of_it_is_refused(tmp_path, name):
    path = tmp_path / "x"
    for changes in (
        {"surprise": torch.zeros(1)},
        {"dense_encoder.surprise": torch.zeros(1)},
        {"TSTransformer.70.x": torch.zeros(1)},
        {"TSCB_70.x": torch.zeros(1)},
    ):
        with pytest.raises(RasedError, match=r"is not a checkpoint of|more than a network has"):
            IMPORTERS[name](authors_file(path, name, **changes))
    torch.save({"other": {}}, path)
    with pytest.raises(RasedError):
        IMPORTERS[name](path)

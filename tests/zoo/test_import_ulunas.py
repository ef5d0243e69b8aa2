"""The importer of UL-UNAS: every weight finds its place, and the authors' outputs come back."""

import json
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors import safe_open

from rased.building import build
from rased.classes import STRANGERS
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.zoo.importers import IMPORTERS
from rased.zoo.importers.ulunas import import_ulunas
from tests.models.parity.weights import seeded
from tests.zoo.test_importers import SHARED

RECORDED = Path(__file__).parent.parent / "models" / "parity" / "ul-unas.safetensors"


def authors_file(path: Path, **changes: torch.Tensor) -> Path:
    """A checkpoint as the authors' on seeded weights."""
    with safe_open(RECORDED, "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
    state = {name: seeded(name, tuple(shape)) for name, shape in shapes.items()}
    counts = [name.replace("running_var", "num_batches_tracked") for name in state]
    state |= {name: torch.tensor(7) for name in counts if name not in state}
    torch.save({"epoch": 1, "optimizer": {}, "scheduler": {}, "model": {**state, **changes}}, path)
    return path


def test_spec_and_weights_put_out_what_the_authors_module_does(tmp_path):
    spec, weights, facts = IMPORTERS["ul-unas"](authors_file(tmp_path / "trained_on_x.tar"))
    enhancer = build(Enhancer, spec, classes=STRANGERS).eval()
    enhancer.load_state_dict(weights)
    assert facts["training"] == {"data": "trained_on_x"}
    with safe_open(RECORDED, "pt") as file:
        noisy, expected = file.get_tensor("noisy"), file.get_tensor("estimate")
    with torch.no_grad():
        torch.testing.assert_close(enhancer(noisy), expected, rtol=0, atol=1e-5)


def test_what_is_no_checkpoint_of_it_is_refused(tmp_path):
    path = tmp_path / "x.tar"
    for changes, message in [
        ({"decoder.de_convs.9.x": torch.zeros(1)}, r"has no 'decoder\.de_convs\.9\.x'"),
        (
            {"dpgrnn.2.intra_fc.bias": torch.zeros(16)},
            r"dual_path\.2\.\w+\.bias is missing or unexpected",
        ),
        ({"erb.erb_fc.weight": torch.zeros(64, 9)}, r"erb\.analysis is \(64, 9\), not \(64, 192\)"),
    ]:
        with pytest.raises(RasedError, match=message):
            import_ulunas(authors_file(path, **changes))
    torch.save({"weights": {}}, path)
    with pytest.raises(RasedError, match="no weights under the key 'model'"):
        import_ulunas(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' weights are not part of the project")
def test_our_output_is_that_of_the_authors_code():
    """But in the last samples, which theirs leaves out where the hop does not divide the length."""
    noisy, _ = soundfile.read(SHARED / "reference_noisy.wav", dtype="float32")
    reference = SHARED / "ul-unas" / "reference_ulunas_dns3.wav"
    theirs, _ = soundfile.read(reference, dtype="float32")
    enhancer = import_ulunas(SHARED / "ul-unas" / "model_trained_on_dns3.tar")
    with torch.no_grad():
        ours = enhancer(torch.from_numpy(noisy)[None])[0]
    whole = len(noisy) // 256 * 256
    torch.testing.assert_close(ours[:whole], torch.from_numpy(theirs)[:whole], rtol=0, atol=1e-5)

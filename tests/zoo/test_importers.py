"""The importer of GTCRN: every weight finds its place; the authors' outputs where their files are."""

import os
from pathlib import Path

import pytest
import soundfile
import torch

from rased.config import build
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.models.gtcrn import GTCRN
from rased.zoo.importers import IMPORTERS
from rased.zoo.importers.gtcrn import _BLOCKS, convert, import_gtcrn

SHARED = Path(os.environ.get("RASED_WEIGHTS", Path(__file__).parents[3] / "shared" / "weights"))


def authors_file(path: Path, **changes) -> Path:
    """A checkpoint with the names and layouts of the authors', made from random weights of ours."""
    torch.manual_seed(0)
    theirs = {}
    for name, tensor in GTCRN().state_dict().items():
        if name.startswith("decoder.") and tensor.ndim == 4:
            depthwise = ".depthwise." in name
            tensor = tensor.flip(2, 3) if depthwise else tensor.transpose(0, 1).contiguous()
        theirs[their_name(name)] = tensor
    torch.save({"epoch": 1, "optimizer": {}, "model": {**theirs, **changes}}, path)
    return path


def their_name(name: str) -> str:
    for block, (ours, parts) in _BLOCKS.items():
        for part, new in parts.items():
            prefix = f"{ours}.{new}"
            if name == prefix or name.startswith(f"{prefix}."):
                return f"{block}.{part}{name[len(prefix) :]}"
    raise AssertionError(f"{name} has no counterpart")


def test_every_weight_finds_its_place(tmp_path):
    path = authors_file(tmp_path / "weights.tar")
    torch.manual_seed(0)
    expected, imported = GTCRN().state_dict(), import_gtcrn(path).state_dict()
    assert imported.keys() == expected.keys()
    assert all(imported[name].equal(tensor) for name, tensor in expected.items())


def test_a_transposed_convolution_of_stride_one_is_a_turned_convolution():
    weight, frames = torch.randn(4, 1, 3, 3), torch.randn(1, 4, 10, 7)
    name = "decoder.de_convs.0.depth_conv.weight"
    turned = convert({name: weight})["decoder.0.depthwise.weight"]
    padded = torch.nn.functional.pad(frames, (0, 0, 10, 0))
    theirs = torch.nn.functional.conv_transpose2d(
        padded, weight, padding=(10, 1), dilation=(5, 1), groups=4
    )
    ours = torch.nn.functional.conv2d(padded, turned, padding=(0, 1), dilation=(5, 1), groups=4)
    torch.testing.assert_close(ours, theirs)


def test_spec_weights_and_facts_make_an_entry(tmp_path):
    spec, weights, facts = IMPORTERS["gtcrn"](authors_file(tmp_path / "model_trained_on_x.tar"))
    enhancer = build(Enhancer, spec, allow=("rased.",))
    enhancer.load_state_dict(weights)
    assert facts["licence"]["weights"] == "MIT"
    assert facts["training"] == {"data": "model_trained_on_x"}


def test_what_is_no_checkpoint_is_refused(tmp_path):
    text = tmp_path / "text.tar"
    text.write_text("no weights")
    with pytest.raises(RasedError, match="cut short or not a checkpoint"):
        import_gtcrn(text)
    with pytest.raises(RasedError, match="there is no checkpoint"):
        import_gtcrn(tmp_path / "missing.tar")
    torch.save({"weights": {}}, text)
    with pytest.raises(RasedError, match="no weights under the key 'model'"):
        import_gtcrn(text)
    with pytest.raises(RasedError, match=r"has no 'dpgrnn3\.x'"):
        import_gtcrn(authors_file(text, **{"dpgrnn3.x": torch.zeros(1)}))
    with pytest.raises(RasedError, match=r"erb\.analysis is"):
        import_gtcrn(authors_file(text, **{"erb.erb_fc.weight": torch.zeros(64, 100)}))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    path = tmp_path / "harmful.tar"
    torch.save({"model": {"x": Harm()}}, path)
    with pytest.raises(RasedError, match="plain values only"):
        import_gtcrn(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' weights are not part of the project")
@pytest.mark.parametrize("data", ["dns3", "vctk"])
def test_our_output_is_that_of_the_authors_code(data):
    noisy, _ = soundfile.read(SHARED / "reference_noisy.wav", dtype="float32")
    theirs, _ = soundfile.read(SHARED / "gtcrn" / f"reference_gtcrn_{data}.wav", dtype="float32")
    enhancer = import_gtcrn(SHARED / "gtcrn" / f"model_trained_on_{data}.tar")
    with torch.no_grad():
        ours = enhancer(torch.from_numpy(noisy)[None])[0]
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-5)

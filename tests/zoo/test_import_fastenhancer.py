"""The importer of FastEnhancer: the authors' names and layouts, their output, and refusals."""

import dataclasses
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from rased.building import build
from rased.classes import STRANGERS
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.zoo.importers import IMPORTERS
from rased.zoo.importers.fastenhancer import import_fastenhancer
from tests.models.parity.weights import seeded

RECORDED = Path(__file__).parent.parent / "models" / "parity" / "fastenhancer.safetensors"


@cache
def recorded() -> tuple[dict[str, torch.Tensor], dict[str, list[int]]]:
    with safe_open(RECORDED, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(
            file.metadata()["shapes"]
        )


def theirs(size: str) -> dict[str, torch.Tensor]:
    """The state of the authors' module on seeded weights."""
    _, shapes = recorded()
    names = {name.partition("/")[2]: shape for name, shape in shapes.items() if name[0] == size}
    state = {name: seeded(name, tuple(shape)) for name, shape in names.items()}
    counts = [name.replace("running_var", "num_batches_tracked") for name in state]
    return {**state, **{name: torch.tensor(7) for name in counts if name not in state}}


def saved(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save({"epoch": 1, "model": state, "optim": {"state": {}}}, path)
    return path


@pytest.mark.parametrize("size", ["t", "s", "m"])
def test_the_imported_one_puts_out_what_theirs_does(tmp_path, size):
    tensors, _ = recorded()
    _, enhancer = import_fastenhancer(saved(tmp_path / "00500.pth", theirs(size)))
    assert enhancer.causal
    enhancer.stft = dataclasses.replace(enhancer.stft, pad_mode="centred")
    with torch.no_grad():
        ours = enhancer(tensors["noisy"])[:, : tensors[size].shape[-1]]
    torch.testing.assert_close(ours, tensors[size], rtol=0, atol=1e-4)


@pytest.mark.parametrize("fixed", [True, False])
def test_spec_and_weights_make_the_enhancer_of_strangers(tmp_path, fixed):
    state = theirs("b")
    if fixed:
        state["rf_pre.0.weight"] = recorded()[0]["b/bands"]
    spec, weights, facts = IMPORTERS["fastenhancer"](saved(tmp_path / "b.pth", state))
    assert spec["init_args"]["learned_bands"] != fixed
    enhancer = build(Enhancer, spec, classes=STRANGERS)
    enhancer.load_state_dict(weights)
    assert facts["licence"]["weights"] == "MIT"


def test_48_khz_is_seen_in_the_number_of_bins(tmp_path):
    state = theirs("t")
    for name in ("rf_pre.0.weight", "rf_post.0.weight"):
        state[name] = state[name].repeat(*((1, 2) if name.startswith("rf_pre") else (2, 1)))
    spec, enhancer = import_fastenhancer(saved(tmp_path / "t48.pth", state))
    assert enhancer.sample_rate == 48_000
    assert spec["init_args"]["stft"]["n_fft"] == 1_024
    assert enhancer.chunk_length == 512


def test_what_is_no_checkpoint_of_it_is_refused(tmp_path):
    path, state = tmp_path / "x.pth", theirs("t")
    torch.save({"weights": {}}, path)
    with pytest.raises(RasedError, match="no weights under the key 'model'"):
        import_fastenhancer(path)
    for change, message in [
        ({"enc_pre.0.bias": torch.zeros(24)}, r"down\.0\.bias is missing or unexpected"),
        ({"surprise": torch.zeros(1)}, "has no 'surprise'"),
        ({"rf_pre.0.weight": torch.zeros(16, 100)}, "100 bins are not a published size"),
        ({"enc_pre.0.weight": torch.zeros(24)}, "not a checkpoint of FastEnhancer"),
        ({"rf_post.0.weight": torch.zeros(64, 9)}, r"expand\.weights is \(64, 9\)"),
        ({"rf_block.0.pe": torch.zeros(3)}, "not a checkpoint of FastEnhancer"),
    ]:
        with pytest.raises(RasedError, match=message):
            import_fastenhancer(saved(path, {**state, **change}))
    with pytest.raises(RasedError, match="not a checkpoint of FastEnhancer"):
        import_fastenhancer(saved(path, {}))

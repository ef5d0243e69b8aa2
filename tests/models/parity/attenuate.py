"""aTENNuate: names of its authors' weights, our run and theirs."""

import importlib
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rased.models.attenuate import ATENNuate
from rased.zoo.importers.checkpoint import renamed
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import fill, sound

_CHANNELS, _FACTORS, _COEFFICIENTS, _REPEAT = [4, 6, 8], [4, 2, 2], 3, 2
_BEHIND = 160
"""Samples of silence behind the recording: more than what theirs sees ahead, and a multiple of its chunk."""
_BLOCKS = {
    r"^down_ssms\.(\d)\.0\.": r"down.\1.",
    r"^down_ssms\.(\d)\.1\.": r"joining.\1.",
    r"^hid_ssms\.": "middle.",
    r"^up_ssms\.(\d)\.0\.": lambda match: f"parting.{len(_FACTORS) - 1 - int(match[1])}.",
    r"^up_ssms\.(\d)\.1\.": lambda match: f"up.{len(_FACTORS) - 1 - int(match[1])}.",
    r"^last_ssms\.": "last.",
}
_PARTS = {
    "log_dt": "space.log_step",
    "A": "space.rates",
    "B": "space.inputs",
    "C": "space.outputs",
    "weight": "conv.weight",
    "bias": "conv.bias",
    "layer_norm.weight": "norm.weight",
    "layer_norm.bias": "norm.bias",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of Brainchip-Inc/aTENNuate as ours."""
    ours = {}
    for name, tensor in theirs.items():
        name = renamed(name, _BLOCKS)
        if match := re.fullmatch(r"((?:down|middle|up|last)\.\d)\.\d\.(.+)", name):
            name = f"{match[1]}.{_PARTS[match[2]]}"
        ours[name] = tensor.transpose(0, 1) if name.startswith("joining") else tensor
    return ours


def our_attenuate(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """A smaller network."""
    model = ATENNuate(
        channels=_CHANNELS, factors=_FACTORS, coefficients=_COEFFICIENTS, repeat=_REPEAT
    ).eval()
    load(model, state(seeded_state(shapes)))
    return {"estimate": model(tensors["noisy"])}


def attenuate(folder: Path) -> Recorded:
    """A recording with silence behind it."""
    for name in ("librosa", "torchaudio", "huggingface_hub"):
        module = sys.modules.setdefault(name, types.ModuleType(name))  # for what is not done here
        vars(module)["hf_hub_download"] = None
    there = types.SimpleNamespace(is_available=lambda: True, enabled=False)
    vars(torch.backends)["opt_einsum"] = there  # which chooses the order of products
    sys.path.insert(0, str(folder))
    network = importlib.import_module("attenuate.model").Denoiser
    theirs = network(
        channels=_CHANNELS,
        num_coeffs=_COEFFICIENTS,
        repeat=_REPEAT,
        resample_factors=_FACTORS,
    ).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(1_600)
    longer = torch.nn.functional.pad(noisy, (0, _BEHIND))[:, None]
    estimate = theirs(longer)[:, 0, : noisy.shape[-1]]
    return {"noisy": noisy}, {"estimate": estimate.contiguous()}, theirs.state_dict()

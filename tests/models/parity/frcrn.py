"""FRCRN: our run and that of its authors."""

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from rased.models.registry import create_model
from rased.zoo.importers.frcrn import convert
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import fill, sound

_BINS = slice(None, None, 5)
_SCALE = 0.6


def quiet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with norms that keep the signal small: otherwise two U-nets drive every tanh to its limit."""
    scales = {name: _SCALE if ".bn_" in name and name.endswith("weight") else 1.0 for name in state}
    return {name: scales[name] * tensor for name, tensor in state.items()}


def our_frcrn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/frcrn.yaml."""
    model: Any = create_model("frcrn").eval()
    load(model.network, convert(quiet(seeded_state(shapes))))
    mask = torch.view_as_real(model.predict(tensors["noisy"]).mask)
    # Our first frame begins with silence, and theirs with the file: `frcrn` gives them the silence.
    return {"mask": rearrange(mask, "n f t part -> n t f part")[:, :, _BINS].contiguous()}


def frcrn(folder: Path) -> Recorded:
    """The mask for a mixture between two hops of silence, which our transform adds; a fifth of the bins."""
    sys.path.insert(0, str(folder / "clearvoice" / "clearvoice" / "models"))
    network = importlib.import_module("frcrn_se.frcrn").DCCRN
    settings = {"complex": True, "model_complexity": 45, "model_depth": 14, "log_amp": False}
    transform = {"win_len": 640, "win_inc": 320, "fft_len": 640, "win_type": "hanning"}
    theirs = network(**settings, padding_mode="zeros", **transform).eval()
    # Their lists of layers name the same tensors again, and the transform is no layer.
    state = {
        name: value
        for name, value in theirs.state_dict().items()
        if not re.match(r"i?stft\.|\w+\.(en|de)coders\.|\w+\.(se_layers|fsmn)_(en|de)c\.", name)
    }
    theirs.load_state_dict(quiet(fill(state)), strict=False)
    noisy = sound(1_280)
    mask = theirs(torch.nn.functional.pad(noisy, (320, 320)))[2]
    parts = rearrange(mask, "n (part f) t -> n t f part", part=2)
    return {"noisy": noisy}, {"mask": parts[:, :, _BINS].contiguous()}, state

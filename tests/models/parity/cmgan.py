"""CMGAN: our run and that of its authors."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from rased.models.registry import create_model
from rased.zoo.importers.cmgan import convert
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import fill, sound

_CHANNELS = 16
_BINS = slice(None, None, 5)


def our_cmgan(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/cmgan.yaml, narrower, with the centred transform."""
    model: Any = create_model("cmgan", stft={"pad_mode": "centred"}, channels=_CHANNELS).eval()
    load(model.network, convert(seeded_state(shapes)))
    output = torch.view_as_real(model.predict(tensors["noisy"]).output)
    return {"spectrum": rearrange(output, "n f t part -> n t f part")[:, :, _BINS].contiguous()}


def cmgan(folder: Path) -> Recorded:
    """Waveform to compressed spectrum; a fifth of the bins. Nothing is silent: their angle of zero has a sign."""
    sys.path.insert(0, str(folder / "src"))
    theirs = importlib.import_module("models.generator").TSCNet(_CHANNELS, 201).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    compress = importlib.import_module("utils").power_compress
    noisy = sound(2_400) + 0.1 * sound(2_400).flip(0)
    scale = (noisy.shape[-1] / noisy.square().sum(-1, keepdim=True)).sqrt()
    window = torch.hamming_window(400)
    spectrum = torch.stft(noisy * scale, 400, 100, window=window, return_complex=True)
    compressed = rearrange(compress(torch.view_as_real(spectrum)), "n part f t -> n part t f")
    parts = rearrange(list(theirs(compressed)), "part n 1 t f -> n t f part")
    return {"noisy": noisy}, {"spectrum": parts[:, :, _BINS].contiguous()}, theirs.state_dict()

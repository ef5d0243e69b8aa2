"""DCUNet: names of Asteroid's weights, our run and theirs."""

import importlib
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from rased.models.registry import create_model
from tests.models.parity.theirs import Recorded, Shapes, load, packages, seeded_state
from tests.models.parity.weights import fill, sound

_SETTINGS = {
    "channels": [32, 64, 64, 64, 64],
    "kernels": [[5, 7], [5, 7], [3, 5], [3, 5], [3, 5]],
    "strides": [[2, 2], [2, 2], [2, 2], [2, 2], [1, 2]],
}
"""DCUNet-10, which has all that DCUNet-20 has."""
_BINS = slice(None, None, 9)


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of Asteroid's DCUNet as ours: kernels are frames by bins, real and imaginary parts have one norm."""
    ours = {}
    for name, tensor in theirs.items():
        name = re.sub(r"^encoders\.(\d)\.(de)?conv\.", r"down.\1.0.", name)
        name = re.sub(r"^decoders\.(\d)\.(de)?conv\.", r"up.\1.0.", name)
        name = re.sub(r"^output_layer\.0\.", "last.", name)
        name = name.replace(".re_module.", ".real.").replace(".im_module.", ".imaginary.")
        if match := re.fullmatch(r"(en|de)coders\.(\d)\.norm\.real\.(\w+)", name):
            side = {"en": "down", "de": "up"}[match[1]]
            other = theirs[f"{match[1]}coders.{match[2]}.norm.im_module.{match[3]}"]
            ours[f"{side}.{match[2]}.1.{match[3]}"] = torch.cat([tensor, other])
        elif ".norm." not in name:
            ours[name] = tensor.transpose(2, 3) if tensor.ndim == 4 else tensor
    return ours


def our_dcunet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/dcunet.yaml with the layers of DCUNet-10."""
    model: Any = create_model("dcunet", **_SETTINGS).eval()
    load(model.network, state(seeded_state(shapes)))
    mask = torch.view_as_real(model.predict(tensors["noisy"]).mask)
    return {"mask": rearrange(mask, "n f t part -> n t f part")[:, :, _BINS].contiguous()}


def dcunet(folder: Path) -> Recorded:
    """The mask for a spectrum of our transform; a ninth of the bins."""
    packages(folder, "asteroid", "asteroid.masknn")
    filterbanks: Any = types.ModuleType("asteroid_filterbanks.transforms")
    filterbanks.from_torch_complex = lambda spectrum: spectrum
    filterbanks.magphase = lambda mask: (mask.abs(), mask.angle())
    parent: Any = types.ModuleType("asteroid_filterbanks")
    parent.transforms = filterbanks
    sys.modules |= {parent.__name__: parent, filterbanks.__name__: filterbanks}
    network = importlib.import_module("asteroid.masknn.convolutional").DCUMaskNet
    theirs = network.default_architecture("DCUNet-10", fix_length_mode="pad").eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(2_000)
    mask = theirs(create_model("dcunet").stft.analysis(noisy))[:, 0]  # type: ignore[attr-defined]
    parts = rearrange(torch.view_as_real(mask), "n f t part -> n t f part")[:, :, _BINS]
    return {"noisy": noisy}, {"mask": parts.contiguous()}, theirs.state_dict()

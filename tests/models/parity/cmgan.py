"""CMGAN: names of its authors' weights, our run and theirs."""

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
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import fill, sound

_CHANNELS = 16
_BINS = slice(None, None, 5)
_NAMES: dict[str, Any] = {
    r"^dense_encoder\.": "encoder.",
    r"^mask_decoder\.": "mask.",
    r"^complex_decoder\.": "residual.",
    r"(dilated_dense|dense_block)\.(conv|norm|prelu)(\d)\.": lambda match: (
        f"dense.blocks.{int(match[3]) - 1}.{_PARTS[match[2]]}."
    ),
    r"^encoder\.conv_1\.(\d)\.": lambda match: f"encoder.first.{_ORDER[int(match[1])]}.",
    r"^encoder\.conv_2\.(\d)\.": lambda match: f"encoder.down.{_ORDER[int(match[1])]}.",
    r"\.sub_pixel\.conv\.": ".up.",
    r"^mask\.conv_1\.": "mask.narrow.",
    r"^mask\.final_conv\.": "mask.last.",
    r"^mask\.prelu_out\.": "mask.gain.",
    r"^residual\.conv\.": "residual.last.",
    r"^(mask|residual)\.prelu\.": r"\1.activation.",
    r"^TSCB_(\d)\.": lambda match: f"blocks.{int(match[1]) - 1}.",
    r"\.time_conformer\.": ".along.",
    r"\.freq_conformer\.": ".across.",
    r"\.ff1\.fn\.fn\.net\.(\d)\.": lambda match: f".first.{int(match[1]) + 1}.",
    r"\.ff2\.fn\.fn\.net\.(\d)\.": lambda match: f".second.{int(match[1]) + 1}.",
    r"\.ff1\.fn\.norm\.": ".first.0.",
    r"\.ff2\.fn\.norm\.": ".second.0.",
    r"\.attn\.norm\.": ".attention_norm.",
    r"\.attn\.fn\.to_q\.": ".attention.query.",
    r"\.attn\.fn\.to_kv\.": ".attention.key_value.",
    r"\.attn\.fn\.to_out\.": ".attention.linear.",
    r"\.attn\.fn\.rel_pos_emb\.": ".attention.distance.",
    r"\.conv\.net\.0\.": ".convolution.norm.",
    r"\.conv\.net\.2\.": ".convolution.expand.",
    r"\.conv\.net\.4\.conv\.": ".convolution.depthwise.",
    r"\.conv\.net\.5\.": ".convolution.inner_norm.",
    r"\.conv\.net\.7\.": ".convolution.reduce.",
    r"\.post_norm\.": ".norm.",
}
_PARTS = {"conv": "conv", "norm": "norm", "prelu": "activation"}
_ORDER = ["conv", "norm", "activation"]


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of ruizhecao96/CMGAN as ours."""
    ours = {}
    for name, tensor in theirs.items():
        for old, new in _NAMES.items():
            name = re.sub(old, new, name)
        ours[name] = tensor
    return ours


def our_cmgan(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/cmgan.yaml, narrower, with the centred transform."""
    model: Any = create_model("cmgan", stft={"pad_mode": "centred"}, channels=_CHANNELS).eval()
    load(model.network, state(seeded_state(shapes)))
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

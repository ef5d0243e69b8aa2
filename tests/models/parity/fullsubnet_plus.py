"""FullSubNet+: names of its authors' weights, our run and theirs."""

import importlib
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from rased.models.registry import create_model
from rased.zoo.importers.checkpoint import renamed
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import fill, sound

_SIZES = {"sub_hidden": 16}
_BINS = slice(None, None, 4)
_NAMES = {
    r"^channel_attention\.": "magnitude.attention.",
    r"^channel_attention_real\.": "real.attention.",
    r"^channel_attention_imag\.": "imaginary.attention.",
    r"^fb_model\.": "magnitude.",
    r"^fb_model_real\.": "real.",
    r"^fb_model_imag\.": "imaginary.",
    r"\.smallConv1d\.0\.": ".scales.0.",
    r"\.middleConv1d\.0\.": ".scales.1.",
    r"\.largeConv1d\.0\.": ".scales.2.",
    r"\.feature_concate_fc\.": ".merge.",
    r"\.fc1\.": ".squeeze.",
    r"\.fc2\.": ".expand.",
    r"^(magnitude|real|imaginary)\.sequence_model\.(\d)\.": r"\1.blocks.\2.",
    r"\.conv1x1\.": ".expand.0.",
    r"\.prelu1\.": ".expand.1.",
    r"\.norm1\.": ".expand_norm.",
    r"\.depthwise_conv\.": ".depthwise.",
    r"\.prelu2\.": ".activation.",
    r"\.norm2\.": ".depthwise_norm.",
    r"\.sconv\.": ".reduce.",
    r"^sb_model\.sequence_model\.": "sub.",
    r"^sb_model\.fc_output_layer\.": "sub_linear.",
    r"\.fc_output_layer\.": ".linear.",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of RookieJunChen/FullSubNet-plus as ours."""
    return {renamed(name, _NAMES): tensor for name, tensor in theirs.items()}


def our_fullsubnet_plus(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/fullsubnet-plus.yaml with smaller LSTMs and the centred transform."""
    stft = {"pad_mode": "centred"}
    model: Any = create_model("fullsubnet-plus", stft=stft, **_SIZES).eval()
    load(model.network, state(seeded_state(shapes)))
    mask = torch.view_as_real(model.predict(tensors["noisy"]).mask)[:, _BINS]
    return {"mask": rearrange(mask, "n f t part -> n part f t").contiguous()}


def fullsubnet_plus(folder: Path) -> Recorded:
    """Waveform to mask, an utterance at a time; a quarter of the bins."""
    sys.path[:0] = [str(folder), str(folder / "speech_enhance")]
    for name in ("librosa", "utils", "utils.logger"):  # for what is not done here
        sys.modules.setdefault(name, types.ModuleType(name))
    vars(sys.modules["utils.logger"])["log"] = print
    network = importlib.import_module("fullsubnet_plus.model.fullsubnet_plus").FullSubNet_Plus
    expand = importlib.import_module("audio_zen.acoustics.mask").decompress_cIRM
    theirs = network(
        num_freqs=257,
        look_ahead=2,
        sequence_model="LSTM",
        fb_num_neighbors=0,
        sb_num_neighbors=15,
        fb_output_activate_function="ReLU",
        sb_output_activate_function=False,
        channel_attention_model="TSSE",
        fb_model_hidden_size=512,
        sb_model_hidden_size=_SIZES["sub_hidden"],
        weight_init=False,
        norm_type="offline_laplace_norm",
        kersize=[3, 5, 10],
    ).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(2_400)
    spectrum = torch.stft(noisy, 512, 256, window=torch.hann_window(512), return_complex=True)
    masks = [
        theirs(item.abs()[None, None], item.real[None, None], item.imag[None, None])[0]
        for item in spectrum
    ]
    mask = expand(torch.stack(masks))[:, :, _BINS].contiguous()
    return {"noisy": noisy}, {"mask": mask}, theirs.state_dict()

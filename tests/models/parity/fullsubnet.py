"""FullSubNet: names of its authors' weights, our run and theirs."""

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

_SIZES = {"full_hidden": 24, "sub_hidden": 16}
_KINDS = {"utterance": "offline_laplace_norm", "past": "cumulative_laplace_norm"}
_BINS = slice(None, None, 4)
_NAMES = {
    r"^fb_model\.": "full.",
    r"^sb_model\.": "sub.",
    r"^(full|sub)\.sequence_model\.": r"\1.",
    r"^(full|sub)\.fc_output_layer\.": r"\1_linear.",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of Audio-WestlakeU/FullSubNet as ours."""
    return {renamed(name, _NAMES): tensor for name, tensor in theirs.items()}


def our_fullsubnet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/fullsubnet.yaml, smaller, with the centred transform; norms of each kind."""
    found = {}
    for norm in _KINDS:
        stft = {"pad_mode": "centred"}
        model: Any = create_model("fullsubnet", stft=stft, norm=norm, **_SIZES).eval()
        load(model.network, state(seeded_state(shapes)))
        mask = torch.view_as_real(model.predict(tensors["noisy"]).mask)[:, _BINS]
        found[norm] = rearrange(mask, "n f t part -> n part f t").contiguous()
    return found


def fullsubnet(folder: Path) -> Recorded:
    """Waveform to mask, an utterance at a time, norms of each kind; a quarter of the bins."""
    sys.path[:0] = [str(folder), str(folder / "recipes" / "dns_interspeech_2020")]
    sys.modules.setdefault("librosa", types.ModuleType("librosa"))  # for what is not done here
    network = importlib.import_module("fullsubnet.model").Model
    expand = importlib.import_module("audio_zen.acoustics.mask").decompress_cIRM
    noisy, outputs, weights = sound(2_400), {}, {}
    window = torch.hann_window(512)
    for kind, norm in _KINDS.items():
        theirs = network(
            num_freqs=257,
            look_ahead=2,
            sequence_model="LSTM",
            fb_num_neighbors=0,
            sb_num_neighbors=15,
            fb_output_activate_function="ReLU",
            sb_output_activate_function=False,
            fb_model_hidden_size=_SIZES["full_hidden"],
            sb_model_hidden_size=_SIZES["sub_hidden"],
            norm_type=norm,
        ).eval()
        theirs.load_state_dict(fill(theirs.state_dict()))
        spectrum = torch.stft(noisy, 512, 256, window=window, return_complex=True)
        masks = [theirs(item.abs()[None, None])[0] for item in spectrum]
        outputs[kind] = expand(torch.stack(masks))[:, :, _BINS].contiguous()
        weights = theirs.state_dict()
    return {"noisy": noisy}, outputs, weights

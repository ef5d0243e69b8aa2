"""MP-SENet: names of its authors' weights, our run and theirs."""

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
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import fill, sound

_SETTINGS: dict[str, Any] = {"channels": 16, "blocks": 2}
_BINS = slice(None, None, 5)
_NAMES = {
    r"dense_conv_1\.": "first.",
    r"dense_conv_2\.": "down.",
    r"dense_block\.dense_block\.(\d)\.1\.": r"dense.blocks.\1.conv.",
    r"dense_block\.dense_block\.(\d)\.2\.": r"dense.blocks.\1.norm.",
    r"dense_block\.dense_block\.(\d)\.3\.": r"dense.blocks.\1.activation.",
    r"(first|down)\.0\.": r"\1.conv.",
    r"(first|down)\.1\.": r"\1.norm.",
    r"(first|down)\.2\.": r"\1.activation.",
    r"^dense_encoder\.": "encoder.",
    r"^TSTransformer\.(\d)\.time_transformer\.": r"blocks.\1.across.",
    r"^TSTransformer\.(\d)\.freq_transformer\.": r"blocks.\1.along.",
    r"\.norm1\.": ".attention_norm.",
    r"\.norm2\.": ".recurrent_norm.",
    r"\.norm3\.": ".norm.",
    r"\.in_proj_(\w+)$": r".query_key_value.\1",
    r"\.out_proj\.": ".linear.",
    r"\.ffn\.gru\.": ".recurrent.",
    r"\.ffn\.linear\.": ".linear.",
    r"^mask_decoder\.": "magnitude.",
    r"^phase_decoder\.": "phase.",
    r"\.(mask|phase)_conv\.0\.conv\.": ".up.",
    r"\.(mask|phase)_conv\.1\.": ".norm.",
    r"\.(mask|phase)_conv\.2\.": ".activation.",
    r"\.mask_conv\.3\.": ".last.",
    r"\.phase_conv_r\.": ".real.",
    r"\.phase_conv_i\.": ".imaginary.",
    r"\.lsigmoid\.": ".gain.",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of yxlu-0102/MP-SENet as ours."""
    ours = {}
    for name, tensor in theirs.items():
        for old, new in _NAMES.items():
            name = re.sub(old, new, name)
        ours[name] = tensor.flatten() if name.endswith("slope") else tensor
    return ours


def our_mp_senet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/mp-senet.yaml, narrower, with the centred transform."""
    model: Any = create_model("mp-senet", stft={"pad_mode": "centred"}, **_SETTINGS).eval()
    load(model.network, state(seeded_state(shapes)))
    output = torch.view_as_real(model.predict(tensors["noisy"]).output)
    return {"spectrum": rearrange(output, "n f t part -> n t f part")[:, :, _BINS].contiguous()}


def mp_senet(folder: Path) -> Recorded:
    """Waveform to compressed spectrum, an utterance at a time; a fifth of the bins."""
    sys.path.insert(0, str(folder))
    for name in ("librosa", "pesq", "joblib"):
        sys.modules.setdefault(name, types.ModuleType(name))  # for training
    for name, attributes in {"pesq": ["pesq"], "joblib": ["Parallel", "delayed"]}.items():
        for attribute in attributes:
            if not hasattr(sys.modules[name], attribute):
                setattr(sys.modules[name], attribute, None)
    settings = {"dense_channel": _SETTINGS["channels"], "n_fft": 400, "beta": 2.0}
    network = importlib.import_module("models.model").MPNet
    theirs = network(types.SimpleNamespace(**settings), num_tsblocks=_SETTINGS["blocks"]).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    transform = importlib.import_module("dataset").mag_pha_stft
    noisy, heard = sound(2_400), []
    for waveform in noisy:
        scaled = waveform * (waveform.numel() / waveform.square().sum()).sqrt()
        magnitude, phase, _ = transform(scaled[None], 400, 100, 400, 0.3)
        heard.append(theirs(magnitude, phase)[2][0])
    spectrum = rearrange(torch.stack(heard), "n f t part -> n t f part")[:, :, _BINS]
    return {"noisy": noisy}, {"spectrum": spectrum.contiguous()}, theirs.state_dict()

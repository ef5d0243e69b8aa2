"""MP-SENet: our run and that of its authors."""

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
from rased.zoo.importers.mpsenet import convert
from tests.models.parity.theirs import Recorded, Shapes, load, seeded_state
from tests.models.parity.weights import after_a_click, fill, sound

_SETTINGS: dict[str, Any] = {"channels": 16, "blocks": 2}
_BINS = slice(None, None, 5)


def our_mp_senet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/mp-senet.yaml, narrower, with the centred transform."""
    model: Any = create_model("mp-senet", stft={"pad_mode": "centred"}, **_SETTINGS).eval()
    load(model.network, convert(seeded_state(shapes)))
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
    noisy, heard = after_a_click(sound(2_400)), []
    for waveform in noisy:
        scaled = waveform * (waveform.numel() / waveform.square().sum()).sqrt()
        magnitude, phase, _ = transform(scaled[None], 400, 100, 400, 0.3)
        heard.append(theirs(magnitude, phase)[2][0])
    spectrum = rearrange(torch.stack(heard), "n f t part -> n t f part")[:, :, _BINS]
    return {"noisy": noisy}, {"spectrum": spectrum.contiguous()}, theirs.state_dict()

"""PHASEN: names of the weights of huyanxin/phasen, our run and theirs."""

import importlib
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from rased.models.registry import create_model
from rased.zoo.importers.checkpoint import renamed
from tests.models.parity.theirs import Recorded, Shapes, load, packages, seeded_state
from tests.models.parity.weights import fill, sound

_SETTINGS: dict[str, Any] = {"channels": 6, "phase_channels": 4, "hidden": 12}
_BINS = slice(None, None, 7)
_NAMES: dict[str, Any] = {
    r"^amp_conv1\.(\d)\.": lambda match: f"amplitude.{int(match[1]) // 3}.{int(match[1]) % 3}.",
    r"^phase_conv1\.": "phase.",
    r"^tsbs\.": "blocks.",
    r"\.ftb1\.": ".before.",
    r"\.ftb2\.": ".behind.",
    r"(before|behind)\.conv1\.": r"\1.narrow.",
    r"(before|behind)\.conv1d\.": r"\1.gain.",
    r"(before|behind)\.freq_fc\.": r"\1.bins.",
    r"(before|behind)\.conv2\.": r"\1.merge.",
    r"\.amp_conv(\d)\.": lambda match: f".convs.{int(match[1]) - 1}.",
    r"\.phase_conv(\d)\.(\d)\.": lambda match: f".phase.{2 * (int(match[1]) - 1) + int(match[2])}.",
    r"\.p2a_comu\.comu_conv\.": ".to_amplitude.",
    r"\.a2p_comu\.comu_conv\.": ".to_phase.",
    r"^amp_conv2\.": "narrow.",
    r"^phase_conv2\.0\.": "last.",
    r"^rnn\.": "recurrent.",
    r"^fcs\.": "gain.",
    r"\.beta$": ".weight",
    r"\.gamma$": ".bias",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of huyanxin/phasen as ours: kernels are frames by bins; `beta` scales there, and `gamma` shifts."""
    ours = {}
    for name, tensor in theirs.items():
        affine = name.endswith((".beta", ".gamma"))
        name = renamed(name, _NAMES)
        ours[name] = tensor[0] if affine else tensor.transpose(2, 3) if tensor.ndim == 4 else tensor
    return ours


def our_phasen(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/phasen.yaml, narrower."""
    model: Any = create_model("phasen", **_SETTINGS).eval()
    load(model.network, state(seeded_state(shapes)))
    spectrum = torch.view_as_real(model.predict(tensors["noisy"]).spectrum)
    return {"spectrum": rearrange(spectrum, "n f t part -> n t f part")[:, :, _BINS].contiguous()}


def phasen(folder: Path) -> Recorded:
    """Spectrum to spectrum, on our transform; a seventh of the bins. Two faults are repaired, see the model."""
    packages(folder, "model")
    transforms: Any = types.ModuleType("conv_stft")  # replaced by ours below
    transforms.ConvSTFT = transforms.ConviSTFT = lambda *_, **__: None
    show: Any = types.ModuleType("show")
    show.show_params = lambda module: None
    sys.modules |= {"conv_stft": transforms, "show": show}
    theirs = importlib.import_module("model.phasen").PHASEN(
        channel_amp=_SETTINGS["channels"],
        channel_phase=_SETTINGS["phase_channels"],
        rnn_nums=_SETTINGS["hidden"],
    )
    theirs.phase_conv2 = nn.Sequential(nn.Conv2d(_SETTINGS["phase_channels"], 2, 1))
    theirs.rnn.batch_first = True
    theirs.eval().load_state_dict(fill(theirs.state_dict()))
    noisy = sound(2_000)
    spectrum = create_model("phasen").stft.analysis(noisy)  # type: ignore[attr-defined]
    theirs.stft = lambda _: torch.cat([spectrum.real, spectrum.imag], dim=1)
    theirs.istft = lambda parts: parts
    heard, _ = theirs(noisy)
    parts = rearrange(heard, "n (part f) t -> n t f part", part=2)[:, :, _BINS]
    return {"noisy": noisy}, {"spectrum": parts.contiguous()}, theirs.state_dict()

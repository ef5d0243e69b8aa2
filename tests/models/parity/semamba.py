"""SEMamba: names of its authors' weights, our run and theirs."""

import importlib
import re
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
from tests.models.parity.weights import after_a_click, fill, sound

_SETTINGS: dict[str, Any] = {"channels": 16, "blocks": 2, "states": 8}
_BINS = slice(None, None, 5)
_NAMES: dict[str, Any] = {
    r"dense_conv_1\.(\d)\.": lambda match: f"first.{_ORDER[int(match[1])]}.",
    r"dense_conv_2\.(\d)\.": lambda match: f"down.{_ORDER[int(match[1])]}.",
    r"dense_block\.dense_block\.(\d)\.(\d)\.": lambda match: (
        f"dense.blocks.{match[1]}.{_ORDER[int(match[2])]}."
    ),
    r"^dense_encoder\.": "encoder.",
    r"^TSMamba\.(\d)\.": r"blocks.\1.",
    r"\.time_mamba\.": ".along.",
    r"\.freq_mamba\.": ".across.",
    r"\.tlinear\.": ".along.linear.",
    r"\.flinear\.": ".across.linear.",
    r"\.forward_blocks\.0\.": ".readers.0.",
    r"\.backward_blocks\.0\.": ".readers.1.",
    r"\.mixer\.in_proj\.": ".mamba.expand.",
    r"\.mixer\.conv1d\.": ".mamba.conv.",
    r"\.mixer\.x_proj\.": ".mamba.select.",
    r"\.mixer\.dt_proj\.": ".mamba.step.",
    r"\.mixer\.out_proj\.": ".mamba.reduce.",
    r"\.mixer\.A_log$": ".mamba.log_rate",
    r"\.mixer\.D$": ".mamba.direct",
    r"^mask_decoder\.mask_conv\.(\d)\.": lambda match: f"magnitude.{_MASK[int(match[1])]}.",
    r"^phase_decoder\.phase_conv\.(\d)\.": lambda match: f"phase.{_PHASE[int(match[1])]}.",
    r"^mask_decoder\.": "magnitude.",
    r"^phase_decoder\.": "phase.",
    r"\.phase_conv_r\.": ".real.",
    r"\.phase_conv_i\.": ".imaginary.",
    r"\.lsigmoid\.": ".gain.",
}
_ORDER = ["conv", "norm", "activation"]
_MASK = ["up", "narrow", "norm", "activation", "last"]
_PHASE = ["up", "norm", "activation"]


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of RoyChao19477/SEMamba as ours, whose linear layers are no transposed convolutions."""
    ours = {}
    for name, tensor in theirs.items():
        turned = re.search(r"\.[tf]linear\.weight$", name)
        name = renamed(name, _NAMES)
        if turned:
            tensor = tensor[..., 0].T
        ours[name] = tensor.flatten() if name.endswith("slope") else tensor
    return ours


def our_semamba(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/semamba.yaml, narrower, with the centred transform."""
    model: Any = create_model("semamba", stft={"pad_mode": "centred"}, **_SETTINGS).eval()
    load(model.network, state(seeded_state(shapes)))
    output = torch.view_as_real(model.predict(tensors["noisy"]).output)
    return {"spectrum": rearrange(output, "n f t part -> n t f part")[:, :, _BINS].contiguous()}


def semamba(folder: Path) -> Recorded:
    """Waveform to compressed spectrum; a fifth of the bins. Nothing is silent: their angle of zero has a sign.

    The scan is the reference of Mamba's authors, in place of the kernels for CUDA.
    """
    root = folder / "mamba-1_2_0_post1"
    packages(root, "mamba_ssm", "mamba_ssm.modules", "mamba_ssm.models", "mamba_ssm.ops")
    packages(root, "mamba_ssm.ops.triton", "mamba_ssm.utils")
    packages(folder, "models")
    layernorm: Any = types.ModuleType("mamba_ssm.ops.triton.layernorm")
    layernorm.RMSNorm = nn.RMSNorm
    layernorm.layer_norm_fn = layernorm.rms_norm_fn = None
    sys.modules[layernorm.__name__] = layernorm
    sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")
    mixer: Any = types.ModuleType("mamba_ssm.models.mixer_seq_simple")
    mixer._init_weights = lambda module, n_layer: None  # filled below
    sys.modules[mixer.__name__] = mixer
    reference = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
    simple: Any = importlib.import_module("mamba_ssm.modules.mamba_simple")
    simple.selective_scan_fn = reference.selective_scan_ref
    model = {
        "hid_feature": _SETTINGS["channels"],
        "num_tfmamba": _SETTINGS["blocks"],
        "d_state": _SETTINGS["states"],
        **{"d_conv": 4, "expand": 4, "norm_epsilon": 1e-5, "beta": 2.0},
        **{"input_channel": 2, "output_channel": 1},
    }
    network = importlib.import_module("models.generator").SEMamba
    theirs = network({"model_cfg": model, "stft_cfg": {"n_fft": 400}}).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    transform = importlib.import_module("models.stfts").mag_phase_stft
    noisy = after_a_click(sound(2_400) + 0.1 * sound(2_400).flip(0))
    scale = (noisy.shape[-1] / noisy.square().sum(-1, keepdim=True)).sqrt()
    magnitude, phase, _ = transform(noisy * scale, 400, 100, 400, 0.3)
    spectrum = rearrange(theirs(magnitude, phase)[2], "n f t part -> n t f part")[:, :, _BINS]
    return {"noisy": noisy}, {"spectrum": spectrum.contiguous()}, theirs.state_dict()

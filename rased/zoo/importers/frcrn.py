"""Weights of FRCRN as its authors publish them (huggingface.co/alibabasglab/FRCRN_SE_16K, last_best_checkpoint.pt)."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rased.building import build
from rased.models.frequency import FrequencyDomainEnhancer
from rased.zoo.importers.checkpoint import filled, numbered, read_weights, renamed

_UNUSED = re.compile(
    r"^(stft|istft)\."  # our transform computes them
    r"|\.(encoders|decoders|se_layers_enc|se_layers_dec|fsmn_enc|fsmn_dec)\."  # second names of the same layers
    r"|num_batches_tracked$"
)
_PARTS = {"re": "real", "im": "imaginary", "r": "real", "i": "imaginary"}
_NAMES: dict[str, Any] = {
    r"^unet\.": "first.",
    r"^unet2\.": "second.",
    r"\.encoder(\d+)\.": r".down.\1.",
    r"\.decoder(\d+)\.": r".up.\1.",
    r"\.fsmn_enc(\d+)\.fsmn_(re|im)_L1\.": lambda match: (
        f".down_memory.{int(match[1]) - 1}.{_PARTS[match[2]]}."
    ),
    r"\.fsmn_dec(\d+)\.fsmn_(re|im)_L1\.": lambda match: (
        f".up_memory.{match[1]}.{_PARTS[match[2]]}."
    ),
    r"\.fsmn\.fsmn_(re|im)_L(\d)\.": lambda match: (
        f".memory.{int(match[2]) - 1}.{_PARTS[match[1]]}."
    ),
    r"\.se_layer_enc(\d+)\.fc_(r|i)\.": lambda match: (
        f".down_attention.{match[1]}.{_PARTS[match[2]]}."
    ),
    r"\.se_layer_dec(\d+)\.fc_(r|i)\.": lambda match: (
        f".up_attention.{match[1]}.{_PARTS[match[2]]}."
    ),
    r"\.(down|up)\.(\d+)\.t?(?:rans)?conv\.t?conv_(re|im)\.": lambda match: (
        f".{match[1]}.{match[2]}.0.{_PARTS[match[3]]}."
    ),
    r"\.linear\.conv_(re|im)\.": lambda match: f".last.{_PARTS[match[1]]}.",
    r"\.conv1\.": ".filter.",
}


def import_frcrn(path: Path) -> tuple[dict[str, Any], FrequencyDomainEnhancer]:
    """Return the spec, and the enhancer with the authors' weights in evaluation mode.

    Raises:
        RasedError: the file is not such a checkpoint.
    """
    network = convert(read_weights(path))
    layers = numbered(network, r"first\.down\.(\d+)\.")
    sizes = {
        "channels": len(network.get("first.down.0.1.weight", ())) // 2,
        "hidden": len(network.get("first.memory.0.real.linear.weight", ())),
        "layers": layers,
    }
    spec = {
        "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
        "init_args": {
            "features": {"kinds": ["complex"]},
            "inputs": {"normalisation": "none"},
            "network": {"class_path": "rased.models.frcrn.FRCRN", "init_args": sizes},
            "target": "complex_mask",
            "phase": {"source": "predicted"},
            "stft": {"n_fft": 640, "hop_length": 320, "win_length": 640},
        },
    }
    weights = {f"network.{name}": tensor for name, tensor in network.items()}
    model = build(FrequencyDomainEnhancer, spec)
    weights["fitted"] = torch.tensor(True)
    return spec, filled(model, weights, path, "checkpoint of FRCRN")


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network with our names; kernels are frames by bins, both parts have one norm.

    The layers that their code builds and never calls are left out.
    """
    theirs = {name.removeprefix("module."): tensor for name, tensor in theirs.items()}
    layers = numbered(theirs, r"unet\.encoder(\d+)\.")
    never = re.compile(
        rf"\.(fsmn_enc0|fsmn_dec{layers - 1}|se_layer_enc{layers - 1}|se_layer_dec{layers - 2})\."
    )
    ours = {}
    for name, tensor in theirs.items():
        if _UNUSED.search(name) or never.search(name):
            continue
        if match := re.fullmatch(r"(unet2?)\.(en|de)coder(\d+)\.bn\.bn_re\.(\w+)", name):
            other = theirs.get(name.replace(".bn_re.", ".bn_im."))
            both = [tensor, tensor.new_zeros(0) if other is None else other]
            unet, side = _UNETS[match[1]], _SIDES[match[2]]
            ours[f"{unet}.{side}.{match[3]}.1.{match[4]}"] = torch.cat(both)
        elif ".bn.bn_im." not in name:
            ours[renamed(name, _NAMES)] = _turned(name, tensor)
    return ours


_UNETS = {"unet": "first", "unet2": "second"}
_SIDES = {"en": "down", "de": "up"}


def _turned(name: str, tensor: Tensor) -> Tensor:
    """Return a kernel of bins by frames as ours of frames by bins, and the taps of a memory without width."""
    if tensor.ndim != 4:
        return tensor
    return tensor[..., 0] if ".conv1." in name else tensor.transpose(2, 3).contiguous()

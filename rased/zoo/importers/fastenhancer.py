"""Weights of FastEnhancer as its authors publish them (GitHub aask1357/fastenhancer, models/fastenhancer/default)."""

import re
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from rased.building import build
from rased.errors import RasedError
from rased.models.fastenhancer import FastEnhancer
from rased.zoo.importers.checkpoint import filled, read_weights

HOPS = {24: 256, 48: 256, 64: 256, 96: 160, 128: 100}
"""Channels -> hop of the published sizes at 16 kHz, which the weights do not contain; twice as much at 48 kHz."""
_RATES = {64: (16_000, 1), 128: (48_000, 2)}
"""Bins after the first convolution -> sample rate, and the factor of window and hop lengths."""

_LARGEST = 256
"""Limits of channels, layers, blocks and sizes: twice the largest published ones."""

_NAMES = {
    r"enc_pre\.([01])\.": r"down.\1.",
    r"encoder\.(\d)\.([01])\.": r"encoder.\1.\2.",
    r"rf_pre\.0\.weight": "compress.weights",
    r"rf_pre\.1\.": "compress.linear.",
    r"rf_pre\.2\.": "compress.norm.",
    r"rf_post\.0\.weight": "expand.weights",
    r"rf_post\.1\.": "expand.linear.",
    r"rf_post\.2\.": "expand.norm.",
    r"rf_block\.(\d)\.pe": r"blocks.\1.positions",
    r"rf_block\.(\d)\.rnn\.(bias_.h)_l0": r"blocks.\1.recurrent.\2_l0",
    r"rf_block\.(\d)\.rnn\.parametrizations\.weight_(.h)_l0\.original0": r"blocks.\1.recurrent.scale_\2",
    r"rf_block\.(\d)\.rnn\.parametrizations\.weight_(.h)_l0\.original1": r"blocks.\1.recurrent.weight_\2_l0",
    r"rf_block\.(\d)\.rnn_fc\.": r"blocks.\1.recurrent_linear.",
    r"rf_block\.(\d)\.rnn_post_norm\.": r"blocks.\1.recurrent_norm.",
    r"rf_block\.(\d)\.attn\.qkv\.parametrizations\.weight\.original0": r"blocks.\1.attention.query_key_value.scale",
    r"rf_block\.(\d)\.attn\.qkv\.parametrizations\.weight\.original1": r"blocks.\1.attention.query_key_value.weight",
    r"rf_block\.(\d)\.attn_fc\.": r"blocks.\1.attention_linear.",
    r"rf_block\.(\d)\.attn_post_norm\.": r"blocks.\1.attention_norm.",
    r"decoder\.(\d)\.0\.": r"merge.\1.linear.",
    r"decoder\.(\d)\.1\.": r"merge.\1.norm.",
    r"decoder\.(\d)\.3\.": r"decoder.\1.0.",
    r"decoder\.(\d)\.4\.": r"decoder.\1.1.",
    r"dec_post\.0\.": "merge.{last}.linear.",
    r"dec_post\.1\.": "merge.{last}.norm.",
    r"dec_post\.3\.": "up.",
}


def import_fastenhancer(path: Path) -> tuple[dict[str, Any], FastEnhancer]:
    """Return the spec of the enhancer, and the enhancer with the authors' weights, in evaluation mode.

    A file begins with silence, as in their stream; their code for files mirrors its ends.

    Raises:
        RasedError: the file is not a checkpoint of their training, or has a size that is not published.
    """
    theirs = read_weights(path)
    try:
        weights = convert(theirs)
        spec = _spec(weights)
    except (RasedError, KeyError, ValueError, RuntimeError) as error:
        raise RasedError(f"'{path}' is not a checkpoint of FastEnhancer: {error}") from error
    model = build(FastEnhancer, spec)
    return spec, filled(model, weights, path, "checkpoint of FastEnhancer")


def _spec(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Derive the sizes from shapes; everything else is the same in all published models."""
    channels, (bands, hidden) = len(weights["down.0.weight"]), weights["blocks.0.positions"].shape
    bins = weights["compress.weights"].shape[1]
    if channels not in HOPS or bins not in _RATES:
        raise RasedError(f"{channels} channels and {bins} bins are not a published size.")
    sample_rate, longer = _RATES[bins]
    sizes = {
        "channels": channels,
        "layers": sum(bool(re.fullmatch(r"encoder\.\d+\.0\.weight", name)) for name in weights),
        "blocks": sum(name.endswith("scale_ih") for name in weights),
        "hidden": hidden,
        "bands": bands,
    }
    if max(sizes.values()) > _LARGEST:
        raise RasedError(f"the sizes {sizes} are not published ones.")
    settings = {"n_fft": 512 * longer, "hop_length": HOPS[channels] * longer}
    spec: dict[str, Any] = {
        "class_path": "rased.models.fastenhancer.FastEnhancer",
        "init_args": {
            **sizes,
            "heads": 4,
            "stft": {**settings, "win_length": 512 * longer, "window": "hann"},
            "sample_rate": sample_rate,
        },
    }
    # The file does not say whether its bands were trained: compare them with those of a new network.
    fixed = build(FastEnhancer, spec).compress.weights
    same = fixed.shape == weights["compress.weights"].shape and torch.allclose(
        fixed, weights["compress.weights"], atol=1e-6
    )
    spec["init_args"]["learned_bands"] = not same
    return spec


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with our names and layouts.

    Raises:
        RasedError: a name that FastEnhancer in training does not have.
    """
    last = sum(bool(re.fullmatch(r"encoder\.\d\.0\.weight", name)) for name in theirs)
    return {_rename(name, last): _lay_out(name, tensor) for name, tensor in theirs.items()}


def _rename(name: str, last: int) -> str:
    for old, new in _NAMES.items():
        if match := re.match(old, name):
            return match.expand(new).format(last=last) + name[match.end() :]
    raise RasedError(f"a checkpoint of FastEnhancer has no '{name}'.")


def _lay_out(name: str, tensor: Tensor) -> Tensor:
    """Convert a kernel: one frame wide; the first convolution has a stride instead of groups of bins as channels."""
    if name == "enc_pre.0.weight":
        return rearrange(tensor, "out (bin part) tap -> out part 1 (tap bin)", part=2)
    if name.endswith("original0"):
        return tensor.flatten()
    if re.match(r"(rf_(pre|post)\.1|decoder\.\d\.0|dec_post\.0)\.", name):
        return tensor.flatten(1)
    return tensor.unsqueeze(2) if tensor.ndim == 3 else tensor

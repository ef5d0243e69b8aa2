"""Weights of FastEnhancer as its authors have them (GitHub aask1357/fastenhancer, models/fastenhancer/default)."""

import re

from einops import rearrange
from torch import Tensor

from rased.errors import RasedError

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


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their names and layouts in ours.

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
    """Kernels over one frame; the first convolution with a stride instead of groups of bins as channels."""
    if name == "enc_pre.0.weight":
        return rearrange(tensor, "out (bin part) tap -> out part 1 (tap bin)", part=2)
    if name.endswith("original0"):
        return tensor.flatten()
    if re.match(r"(rf_(pre|post)\.1|decoder\.\d\.0|dec_post\.0)\.", name):
        return tensor.flatten(1)
    return tensor.unsqueeze(2) if tensor.ndim == 3 else tensor

"""Weights of UL-UNAS as its authors publish them (GitHub Xiaobin-Rong/ul-unas, checkpoints/*.tar)."""

import re
from pathlib import Path

from torch import Tensor

from rased.errors import RasedError
from rased.models.ulunas import ULUNAS
from rased.signal.stft import STFT
from rased.zoo.importers.checkpoint import filled, read_weights
from rased.zoo.importers.gtcrn import DUAL_PATH

STFT_OF_AUTHORS = {
    "n_fft": 512,
    "hop_length": 256,
    "win_length": 512,
    "window": "hann",
    "pad_mode": "centred",
}
"""A centred STFT of the whole file, with reflection padding."""

_PARTS = {
    "ops.1": "conv",
    "ops.2": "norm",
    "ops.3": "activation",
    "ops.4": "attention",
    "pconv.0": "before.conv",
    "pconv.1": "before.norm",
    "pconv.2": "before.activation",
    "pconv1.0": "before.conv",
    "pconv1.1": "before.norm",
    "pconv1.2": "before.activation",
    "dconv.1": "conv",
    "dconv.2": "norm",
    "dconv.3": "activation",
    "dconv.4": "attention",
    "pconv2.0": "after.0",
    "pconv2.1": "after.1",
    "pconv2.2": "attention",
}
_LEAVES = {
    "affine_weight": "weight",
    "affine_bias": "bias",
    "slope_weight": "slope",
    "ta_gru.": "time.recurrent.",
    "ta_fc.": "time.gain.",
    "fa.gru.": "across.recurrent.",
    "fa.fc.": "across.gain.",
}
_ERB = {"erb.erb_fc.weight": "erb.analysis", "erb.ierb_fc.weight": "erb.synthesis"}


def import_ulunas(path: Path) -> ULUNAS:
    """Return UL-UNAS with the authors' weights, in evaluation mode; the ends of a file are mirrored, as in their code.

    Raises:
        RasedError: the file is not such a checkpoint.
    """
    model = ULUNAS(stft=STFT(**STFT_OF_AUTHORS))  # type: ignore[arg-type]
    return filled(model, convert(read_weights(path)), path, "UL-UNAS checkpoint")


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with our names; the layouts are the same.

    Raises:
        RasedError: a name that UL-UNAS does not have.
    """
    return {_rename(name): tensor for name, tensor in theirs.items()}


def _rename(name: str) -> str:
    if name in _ERB:
        return _ERB[name]
    if match := re.fullmatch(r"(en|de)coder\.\1_convs\.(\d)\.(\w+\.\d)\.(.+)", name):
        side, index, part, leaf = match.groups()
        for old, new in _LEAVES.items():
            leaf = new + leaf[len(old) :] if leaf.startswith(old) else leaf
        if part in _PARTS:
            return f"{side}coder.{index}.{_PARTS[part]}.{leaf}"
    if match := re.fullmatch(r"dpgrnn\.(\d)\.(.+)", name):
        for old, new in DUAL_PATH.items():
            if match[2].startswith(f"{old}."):
                return f"dual_path.{match[1]}.{new}{match[2][len(old) :]}"
    raise RasedError(f"a UL-UNAS checkpoint has no '{name}'.")

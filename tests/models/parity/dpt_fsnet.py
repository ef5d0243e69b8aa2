"""DPT-FSNet: names of its authors' weights, our run and theirs."""

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

_BINS = slice(None, None, 7)
_NAMES: dict[str, Any] = {
    r"^inp_(conv|norm|prelu)\.": lambda match: f"first.{_PARTS[match[1]]}.",
    r"^enc_dense1\.": "encoder.",
    r"^dec_dense1\.": "decoder.",
    r"(encoder|decoder)\.(conv|norm|prelu)(\d)\.": lambda match: (
        f"{match[1]}.blocks.{int(match[3]) - 1}.{_PARTS[match[2]]}."
    ),
    r"^dual_transformer\.input\.": "narrow.",
    r"^dual_transformer\.output\.": "widen.",
    r"^dual_transformer\.row_trans\.(\d)\.": r"blocks.\1.along.",
    r"^dual_transformer\.col_trans\.(\d)\.": r"blocks.\1.across.",
    r"^dual_transformer\.row_norm\.(\d)\.": r"blocks.\1.along_norm.",
    r"^dual_transformer\.col_norm\.(\d)\.": r"blocks.\1.across_norm.",
    r"\.self_attn\.in_proj_": ".attention.query_key_value.",
    r"\.self_attn\.out_proj\.": ".attention.linear.",
    r"\.gru\.": ".recurrent.",
    r"\.linear2\.": ".linear.",
    r"\.norm1\.": ".attention_norm.",
    r"\.norm2\.": ".norm.",
    r"^output1\.0\.": "value.",
    r"^output2\.0\.": "gate.",
    r"^out_conv\.": "last.",
}
_PARTS = {"conv": "conv", "norm": "norm", "prelu": "activation"}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of dangf15/DPT-FSNet as ours."""
    return {renamed(name, _NAMES): tensor for name, tensor in theirs.items()}


def our_dpt_fsnet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/dpt-fsnet.yaml."""
    model: Any = create_model("dpt-fsnet").eval()
    load(model.network, state(seeded_state(shapes)))
    spectrum = torch.view_as_real(model.predict(tensors["noisy"]).spectrum)
    return {"spectrum": rearrange(spectrum, "n f t part -> n t f part")[:, :, _BINS].contiguous()}


def dpt_fsnet(folder: Path) -> Recorded:
    """Spectrum to masked spectrum, on our transform (theirs has whole windows alone); a seventh of the bins."""
    sys.path.insert(0, str(folder))
    utils: Any = types.ModuleType("utils")  # theirs does not parse
    utils.show_params = utils.show_model = lambda module: None
    sys.modules["utils"] = utils
    transforms: Any = types.ModuleType("conv_stft")  # replaced by ours below
    transforms.ConvSTFT = transforms.ConviSTFT = lambda *_, **__: None
    sys.modules["conv_stft"] = transforms
    theirs = importlib.import_module("model").Net().eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy, caught = sound(2_000), []
    spectrum = create_model("dpt-fsnet").stft.analysis(noisy)  # type: ignore[attr-defined]
    theirs.stft = lambda _: (spectrum.real, spectrum.imag)
    theirs.istft = lambda parts: caught.append(parts) or parts
    on_the_device = Tensor.to
    Tensor.to = lambda tensor, device: tensor  # type: ignore[method-assign,assignment]
    try:
        theirs(noisy)
    finally:
        Tensor.to = on_the_device  # type: ignore[method-assign]
    parts = rearrange(caught[0], "n (part f) t -> n t f part", part=2)[:, :, _BINS]
    return {"noisy": noisy}, {"spectrum": parts.contiguous()}, theirs.state_dict()

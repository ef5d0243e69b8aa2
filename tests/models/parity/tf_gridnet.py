"""TF-GridNet: names of ESPnet's weights, our run and theirs."""

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

_SETTINGS: dict[str, Any] = {"channels": 8, "hidden": 12, "blocks": 2}
_BINS = slice(None, None, 7)
_NAMES = {
    r"^conv\.0\.": "first.",
    r"^conv\.1\.": "norm.",
    r"^deconv\.": "last.",
    r"\.intra_(norm)\.": r".across.\1.",
    r"\.inter_(norm)\.": r".along.\1.",
    r"\.intra_rnn\.": ".across.recurrent.",
    r"\.inter_rnn\.": ".along.recurrent.",
    r"\.intra_linear\.": ".across.back.",
    r"\.inter_linear\.": ".along.back.",
    r"\.attn_concat_proj\.0\.": ".attention.mix.",
    r"\.attn_concat_proj\.1\.": ".attention.activation.",
    r"\.attn_concat_proj\.2\.": ".attention.norm.",
    r"\.attn_conv_Q\.": ".attention.query.conv.",
    r"\.attn_conv_K\.": ".attention.key.conv.",
    r"\.attn_conv_V\.": ".attention.value.conv.",
    r"\.attn_norm_Q\.": ".attention.query.",
    r"\.attn_norm_K\.": ".attention.key.",
    r"\.attn_norm_V\.": ".attention.value.",
    r"\.act\.": ".activation.",
    r"\.gamma$": ".weight",
    r"\.beta$": ".bias",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of ESPnet's TFGridNetV2 as ours, whose norms have no axis for the batch and one for all channels."""
    ours = {}
    for name, tensor in theirs.items():
        affine = name.endswith((".gamma", ".beta"))
        name = renamed(name, _NAMES)
        ours[name] = tensor.flatten(0, -3) if affine else tensor
    return ours


def our_tf_gridnet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/tf-gridnet.yaml, narrower, on the spectrum of a waveform at their standard deviation."""
    model: Any = create_model("tf-gridnet", **_SETTINGS).eval()
    load(model.network, state(seeded_state(shapes)))
    noisy = tensors["noisy"]
    spectrum = model.stft.analysis(noisy / noisy.std(dim=1, keepdim=True))
    heard = model.process(spectrum, model.initial_process_state(len(noisy)))[0].spectrum
    parts = rearrange(torch.view_as_real(heard), "n f t part -> n t f part")
    return {"spectrum": parts[:, :, _BINS].contiguous()}


def tf_gridnet(folder: Path) -> Recorded:
    """Spectrum to spectrum of their layers, on our transform; a seventh of the bins."""
    packages(folder, "espnet2", "espnet2.enh", "espnet2.enh.separator", "espnet2.enh.layers")
    packages(folder, "espnet2.enh.encoder", "espnet2.enh.decoder", "espnet2.torch_utils")
    for name, attribute in {
        "espnet2.enh.decoder.stft_decoder": "STFTDecoder",
        "espnet2.enh.encoder.stft_encoder": "STFTEncoder",
        "espnet2.enh.layers.complex_utils": "new_complex_like",
    }.items():
        module: Any = types.ModuleType(name)  # transforms, which are not run
        setattr(module, attribute, lambda *_, **__: nn.Identity())
        sys.modules[name] = module
    network = importlib.import_module("espnet2.enh.separator.tfgridnetv2_separator").TFGridNetV2
    theirs = network(
        None,
        n_srcs=1,
        n_fft=512,
        n_layers=_SETTINGS["blocks"],
        lstm_hidden_units=_SETTINGS["hidden"],
        emb_dim=_SETTINGS["channels"],
    ).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(2_000)
    spectrum = create_model("tf-gridnet").stft.analysis(noisy / noisy.std(dim=1, keepdim=True))  # type: ignore[attr-defined]
    bins = theirs.conv(rearrange(torch.view_as_real(spectrum), "n f t part -> n part t f"))
    for block in theirs.blocks:
        bins = block(bins)
    parts = rearrange(theirs.deconv(bins), "n part t f -> n t f part")[:, :, _BINS]
    return {"noisy": noisy}, {"spectrum": parts.contiguous()}, theirs.state_dict()

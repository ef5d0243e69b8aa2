"""DeepFilterNet 3: names of its authors' weights, our run and theirs."""

import importlib
import re
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from rased.models.registry import create_model
from rased.signal.state import parted
from rased.zoo.importers.checkpoint import renamed
from tests.models.parity.theirs import Recorded, Shapes, load, packages, seeded_state
from tests.models.parity.weights import fill, sound

_NAMES = {
    r"^enc\.erb_conv(\d)\.": r"encoder.bands.\1.",
    r"^enc\.df_conv0\.": "encoder.bins.",
    r"^enc\.df_conv1\.": "encoder.bins_down.",
    r"^enc\.df_fc_emb\.0\.": "encoder.bins_linear.",
    r"^enc\.emb_gru\.": "encoder.recurrent.",
    r"^erb_dec\.emb_gru\.": "gains.recurrent.",
    r"^erb_dec\.conv(\d)p\.": lambda match: f"gains.skips.{3 - int(match[1])}.",
    r"^erb_dec\.convt(\d)\.": lambda match: f"gains.up.{3 - int(match[1])}.",
    r"^erb_dec\.conv0_out\.": "gains.up.3.",
    r"^df_dec\.df_convp\.": "filters.pathway.",
    r"^df_dec\.df_gru\.": "filters.recurrent.",
    r"^df_dec\.df_skip\.": "filters.skip.",
    r"^df_dec\.df_out\.0\.": "filters.linear.",
    r"\.linear_in\.0\.": ".before.",
    r"\.linear_out\.0\.": ".after.",
    r"\.gru\.": ".recurrent.",
}


def _deepfilternet3_state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of Rikorose/DeepFilterNet as ours: a block has one or two convolutions and a norm, in this order."""
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        name = renamed(name, _NAMES)
        if match := re.fullmatch(r"(.+)\.\d\.(\w+)", name):
            block, kind = match.groups()
            if tensor.ndim == 1:
                name = f"{block}.norm.{kind}"
            else:
                first = f"{block}.conv.weight"
                name = f"{block}.mix.weight" if first in ours else first
        ours[name] = tensor
    return ours


_BINS = slice(None, None, 7)
"""Bins that are kept."""


def our_deepfilternet3(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/deepfilternet3.yaml; the authors' Python code hears nothing of the first two frames' features.

    Nor does it hear silence behind the end: features of zero stand there, and the last two frames differ.
    """
    model: Any = create_model("deepfilternet3").eval()
    load(model, _deepfilternet3_state(seeded_state(shapes)))
    spectrum = model.stft.analysis(tensors["noisy"])[..., :-1]
    state = model.initial_process_state(len(spectrum))
    whole = functional.pad(spectrum, (0, model.lookahead))
    bands, bins, _ = model.features(spectrum, parted(state)["norms"])
    late = [functional.pad(part[:, :, 2:], (0, 0, 0, 2)) for part in (bands, bins)]
    gains, filters, _ = model.decide(*late, parted(state)["network"])
    model.features = lambda *_: (bands, bins, {})
    model.decide = lambda *_: (
        functional.pad(gains, (0, 0, 2, 0)),
        functional.pad(filters, (0, 0, 0, 0, 0, 0, 2, 0)),
        {},
    )
    heard = model.process(whole, state)[0].from_frame(2).spectrum
    parts = rearrange(torch.view_as_real(heard), "n f t part -> n t f part")
    return {"spectrum": parts[:, :, _BINS].contiguous()}


_SETTINGS = """
[df]
df_lookahead = 2
[deepfilternet]
conv_lookahead = 2
conv_ch = 64
emb_num_layers = 3
enc_linear_groups = 32
linear_groups = 16
df_num_layers = 2
df_gru_skip = groupedlinear
df_pathway_kernel_size_t = 5
"""
"""What config.ini of the released model has other than the defaults of the code."""


def deepfilternet3(folder: Path) -> Recorded:
    """Waveform to spectrum by libDF and DfNet, but for the scale of libDF's spectra; a seventh of the bins."""
    packages(folder / "DeepFilterNet", "df")
    logger: Any = types.ModuleType("loguru")
    logger.logger = importlib.import_module("logging").getLogger("df")
    sys.modules.setdefault("loguru", logger)
    libdf, config = importlib.import_module("libdf"), importlib.import_module("df.config").config
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch, "config.ini")
        settings.write_text(_SETTINGS)
        config.load(str(settings))
    theirs = (
        importlib.import_module("df.deepfilternet3")
        .init_model(libdf.DF(48_000, 960, 480, 32))
        .eval()
    )
    state = {
        name: value
        for name, value in theirs.state_dict().items()
        if "erb_" not in name.split(".")[-1] and not name.startswith(("enc.lsnr", "df_dec.df_fc_a"))
    }
    theirs.load_state_dict(fill(state), strict=False)
    noisy, spectra, alpha = sound(7_200), [], 0.99
    for waveform in noisy.numpy():
        transform = libdf.DF(48_000, 960, 480, 32, 2)
        spectrum = transform.analysis(waveform[None])
        bands = libdf.erb_norm(libdf.erb(spectrum, transform.erb_widths()), alpha)
        bins = torch.view_as_real(torch.from_numpy(libdf.unit_norm(spectrum[..., :96], alpha)))
        parts = torch.view_as_real(torch.from_numpy(spectrum))[None]
        spectra.append(theirs(parts, torch.from_numpy(bands)[None], bins[None])[0][0, 0])
    spectrum = 960 * torch.stack(spectra)[:, :, _BINS]
    return {"noisy": noisy}, {"spectrum": spectrum.contiguous()}, state

"""SepFormer: names of its authors' weights, our run and theirs."""

import importlib
import sys
import types
from collections.abc import Mapping
from pathlib import Path

from einops import rearrange
from torch import Tensor

from rased.models.sepformer import SepFormer
from rased.zoo.importers.checkpoint import renamed
from tests.models.parity.theirs import Recorded, Shapes, load, packages, seeded_state
from tests.models.parity.weights import fill, sound

_SIZES = {"channels": 16, "heads": 2, "hidden": 24, "segment": 20, "layers": 2, "sources": 2}
_NAMES = {
    r"^encoder\.conv1d\.": "encoder.",
    r"^masknet\.norm\.": "norm.",
    r"^masknet\.conv1d\.": "bottleneck.",
    r"^masknet\.dual_mdl\.(\d)\.intra_": lambda match: f"paths.{2 * int(match[1])}.",
    r"^masknet\.dual_mdl\.(\d)\.inter_": lambda match: f"paths.{2 * int(match[1]) + 1}.",
    r"\.mdl\.mdl\.": ".",
    r"^(paths\.\d)\.norm\.norm\.": r"\1.layers.2.",
    r"\.self_att\.att\.in_proj_(\w+)$": r".attention.query_key_value.\1",
    r"\.self_att\.att\.out_proj\.": ".attention.linear.",
    r"\.pos_ffn\.ffn\.": ".linear.",
    r"\.norm1\.norm\.": ".attention_norm.",
    r"\.norm2\.norm\.": ".linear_norm.",
    r"^masknet\.prelu\.": "joined.0.",
    r"^masknet\.conv2d\.": "joined.1.",
    r"^masknet\.output\.": "output.",
    r"^masknet\.output_gate\.": "gate.",
    r"^masknet\.end_conv1x1\.": "mask.0.",
}


def state(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of SpeechBrain's SepFormer as ours."""
    ours = {}
    for name, tensor in theirs.items():
        name = renamed(name, _NAMES)
        ours[name] = tensor.flatten(1) if name == "joined.1.weight" else tensor
    return ours


def our_sepformer(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Two sources from two layers each."""
    model = SepFormer(**_SIZES).eval()
    load(model, state(seeded_state(shapes)))
    return {"sources": model.separate(tensors["noisy"])}


def sepformer(folder: Path) -> Recorded:
    """Waveform to two waveforms; a length at which the last frame ends."""
    names = ("nnet", "dataio", "utils", "lobes", "lobes.models", "lobes.models.transformer")
    packages(folder, "speechbrain", *(f"speechbrain.{name}" for name in names))
    vars(sys.modules["speechbrain"])["nnet"] = sys.modules["speechbrain.nnet"]
    for name in ("speechbrain.dataio.dataio", "torchaudio"):
        module = sys.modules.setdefault(name, types.ModuleType(name))  # for what is not done here
        vars(module)["length_to_mask"] = None
    network = importlib.import_module("speechbrain.lobes.models.dual_path").SepformerWrapper
    theirs = network(
        encoder_out_nchannels=_SIZES["channels"],
        masknet_chunksize=_SIZES["segment"],
        masknet_numspks=_SIZES["sources"],
        intra_numlayers=_SIZES["layers"],
        inter_numlayers=_SIZES["layers"],
        intra_nhead=_SIZES["heads"],
        inter_nhead=_SIZES["heads"],
        intra_dffn=_SIZES["hidden"],
        inter_dffn=_SIZES["hidden"],
    ).eval()
    weights = {name: t for name, t in theirs.state_dict().items() if not name.endswith(".pe")}
    theirs.load_state_dict(fill(weights), strict=False)
    noisy = sound(1_600)
    separated = rearrange(theirs(noisy), "batch time source -> batch source time")
    return {"noisy": noisy}, {"sources": separated.contiguous()}, weights

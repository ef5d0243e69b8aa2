"""Weights of CMGAN's generator as its authors publish them (GitHub ruizhecao96/CMGAN, src/best_ckpt/ckpt)."""

from pathlib import Path
from typing import Any

from torch import Tensor

from rased.models.frequency import FrequencyDomainEnhancer
from rased.zoo.importers.checkpoint import read_weights, renamed
from rased.zoo.importers.spectra import enhancer_of

_PARTS = {"conv": "conv", "norm": "norm", "prelu": "activation"}
_ORDER = ["conv", "norm", "activation"]
_NAMES: dict[str, Any] = {
    r"^dense_encoder\.": "encoder.",
    r"^mask_decoder\.": "mask.",
    r"^complex_decoder\.": "residual.",
    r"(dilated_dense|dense_block)\.(conv|norm|prelu)(\d)\.": lambda match: (
        f"dense.blocks.{int(match[3]) - 1}.{_PARTS[match[2]]}."
    ),
    r"^encoder\.conv_1\.(\d)\.": lambda match: f"encoder.first.{_ORDER[int(match[1])]}.",
    r"^encoder\.conv_2\.(\d)\.": lambda match: f"encoder.down.{_ORDER[int(match[1])]}.",
    r"\.sub_pixel\.conv\.": ".up.",
    r"^mask\.conv_1\.": "mask.narrow.",
    r"^mask\.final_conv\.": "mask.last.",
    r"^mask\.prelu_out\.": "mask.gain.",
    r"^residual\.conv\.": "residual.last.",
    r"^(mask|residual)\.prelu\.": r"\1.activation.",
    r"^TSCB_(\d)\.": lambda match: f"blocks.{int(match[1]) - 1}.",
    r"\.time_conformer\.": ".along.",
    r"\.freq_conformer\.": ".across.",
    r"\.ff1\.fn\.fn\.net\.(\d)\.": lambda match: f".first.{int(match[1]) + 1}.",
    r"\.ff2\.fn\.fn\.net\.(\d)\.": lambda match: f".second.{int(match[1]) + 1}.",
    r"\.ff1\.fn\.norm\.": ".first.0.",
    r"\.ff2\.fn\.norm\.": ".second.0.",
    r"\.attn\.norm\.": ".attention_norm.",
    r"\.attn\.fn\.to_q\.": ".attention.query.",
    r"\.attn\.fn\.to_kv\.": ".attention.key_value.",
    r"\.attn\.fn\.to_out\.": ".attention.linear.",
    r"\.attn\.fn\.rel_pos_emb\.": ".attention.distance.",
    r"\.conv\.net\.0\.": ".convolution.norm.",
    r"\.conv\.net\.2\.": ".convolution.expand.",
    r"\.conv\.net\.4\.conv\.": ".convolution.depthwise.",
    r"\.conv\.net\.5\.": ".convolution.inner_norm.",
    r"\.conv\.net\.7\.": ".convolution.reduce.",
    r"\.post_norm\.": ".norm.",
}


def import_cmgan(path: Path) -> tuple[dict[str, Any], FrequencyDomainEnhancer]:
    """Return the spec, and the enhancer with the authors' weights in evaluation mode; the ends of a file are mirrored.

    Raises:
        RasedError: the file is not such a checkpoint.
    """
    return enhancer_of(
        convert(read_weights(path, "")),
        path,
        class_path="rased.models.cmgan.CMGAN",
        feature="compressed_complex",
        window="hamming",
        what="checkpoint of CMGAN",
    )


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network with our names; the layouts are the same."""
    return {renamed(name, _NAMES): tensor for name, tensor in theirs.items()}

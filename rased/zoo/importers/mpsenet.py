"""Weights of MP-SENet as its authors publish them (GitHub yxlu-0102/MP-SENet, best_ckpt/g_best_vb and g_best_dns)."""

from pathlib import Path
from typing import Any

from torch import Tensor

from rased.models.frequency import FrequencyDomainEnhancer
from rased.zoo.importers.checkpoint import read_weights, renamed
from rased.zoo.importers.spectra import enhancer_of

_NAMES = {
    r"dense_conv_1\.": "first.",
    r"dense_conv_2\.": "down.",
    r"dense_block\.dense_block\.(\d)\.1\.": r"dense.blocks.\1.conv.",
    r"dense_block\.dense_block\.(\d)\.2\.": r"dense.blocks.\1.norm.",
    r"dense_block\.dense_block\.(\d)\.3\.": r"dense.blocks.\1.activation.",
    r"(first|down)\.0\.": r"\1.conv.",
    r"(first|down)\.1\.": r"\1.norm.",
    r"(first|down)\.2\.": r"\1.activation.",
    r"^dense_encoder\.": "encoder.",
    r"^TSTransformer\.(\d)\.time_transformer\.": r"blocks.\1.across.",
    r"^TSTransformer\.(\d)\.freq_transformer\.": r"blocks.\1.along.",
    r"\.norm1\.": ".attention_norm.",
    r"\.norm2\.": ".recurrent_norm.",
    r"\.norm3\.": ".norm.",
    r"\.in_proj_(\w+)$": r".query_key_value.\1",
    r"\.out_proj\.": ".linear.",
    r"\.ffn\.gru\.": ".recurrent.",
    r"\.ffn\.linear\.": ".linear.",
    r"^mask_decoder\.": "magnitude.",
    r"^phase_decoder\.": "phase.",
    r"\.(mask|phase)_conv\.0\.conv\.": ".up.",
    r"\.(mask|phase)_conv\.1\.": ".norm.",
    r"\.(mask|phase)_conv\.2\.": ".activation.",
    r"\.mask_conv\.3\.": ".last.",
    r"\.phase_conv_r\.": ".real.",
    r"\.phase_conv_i\.": ".imaginary.",
    r"\.lsigmoid\.": ".gain.",
}


def import_mpsenet(path: Path) -> tuple[dict[str, Any], FrequencyDomainEnhancer]:
    """Return the spec, and the enhancer with the authors' weights in evaluation mode; the ends of a file are mirrored.

    Raises:
        RasedError: the file is not such a checkpoint.
    """
    return enhancer_of(
        convert(read_weights(path, "generator")),
        path,
        class_path="rased.models.mpsenet.MPSENet",
        feature="complex",
        window="hann",
        what="checkpoint of MP-SENet",
    )


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network with our names; the layouts are the same."""
    ours = {}
    for name, tensor in theirs.items():
        name = renamed(name, _NAMES)
        # Their slopes have an axis for the frames.
        ours[name] = tensor.flatten() if name.endswith("slope") else tensor
    return ours

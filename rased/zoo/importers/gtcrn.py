"""Weights of GTCRN as its authors publish them: checkpoints, and a graph for streams (GitHub Xiaobin-Rong/gtcrn)."""

from pathlib import Path

from torch import Tensor

from rased.errors import RasedError
from rased.models.gtcrn import GTCRN
from rased.signal.stft import STFT
from rased.zoo.importers.checkpoint import filled, read_weights
from rased.zoo.importers.gtcrn_graph import read_graph_weights

STFT_OF_AUTHORS = {
    "n_fft": 512,
    "hop_length": 256,
    "win_length": 512,
    "window": "sqrt_hann",
    "pad_mode": "centred",
}
"""A centred STFT of the whole file, with reflection padding."""

_TEMPORAL = {
    "point_conv1": "expand.0",
    "point_bn1": "expand.1",
    "point_act": "expand.2",
    "depth_conv": "depthwise",
    "depth_bn": "activation.0",
    "depth_act": "activation.1",
    "point_conv2": "reduce.0",
    "point_bn2": "reduce.1",
    "tra.att_gru": "attention.recurrent",
    "tra.att_fc": "attention.gain",
}
_CONV = {"conv": "conv", "bn": "norm", "act": "activation"}
DUAL_PATH = {
    "intra_rnn.rnn1": "across.cells.0",
    "intra_rnn.rnn2": "across.cells.1",
    "intra_fc": "across_linear",
    "intra_ln": "across_norm",
    "inter_rnn.rnn1": "along.cells.0",
    "inter_rnn.rnn2": "along.cells.1",
    "inter_fc": "along_linear",
    "inter_ln": "along_norm",
}
_BLOCKS = {
    "encoder.en_convs.0": ("down.0", _CONV),
    "encoder.en_convs.1": ("down.1", _CONV),
    **{f"encoder.en_convs.{2 + i}": (f"encoder.{i}", _TEMPORAL) for i in range(3)},
    **{f"decoder.de_convs.{i}": (f"decoder.{i}", _TEMPORAL) for i in range(3)},
    "decoder.de_convs.3": ("up.0", _CONV),
    "decoder.de_convs.4": ("up.1", _CONV),
    "dpgrnn1": ("dual_path.0", DUAL_PATH),
    "dpgrnn2": ("dual_path.1", DUAL_PATH),
    "erb": ("erb", {"erb_fc.weight": "analysis", "ierb_fc.weight": "synthesis"}),
}


def import_gtcrn(path: Path) -> GTCRN:
    """Return GTCRN with the authors' weights, in evaluation mode.

    The transform mirrors the ends of a file, like the authors'; a stream begins with silence
    instead, so `step` differs from `forward` at the very beginning.

    Args:
        path: a checkpoint (.tar), or gtcrn_simple.onnx.

    Raises:
        RasedError: the file is neither.
    """
    model = GTCRN(stft=STFT(**STFT_OF_AUTHORS))  # type: ignore[arg-type]
    if Path(path).suffix != ".onnx":
        return filled(model, convert(read_weights(path)), path, "GTCRN checkpoint")
    try:
        weights = convert(read_graph_weights(path))
    except (ValueError, IndexError) as error:
        raise RasedError(f"'{path}' is not a graph of GTCRN: it has other operators.") from error
    return filled(model, weights, path, "graph of GTCRN")


def convert(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with our names and layouts.

    A transposed convolution of stride 1 equals a convolution with swapped channels and a kernel that is flipped
    in both axes.

    Raises:
        RasedError: a name that GTCRN does not have.
    """
    ours = {}
    for name, tensor in theirs.items():
        new = _rename(name)
        if new.startswith("decoder.") and tensor.ndim == 4:
            # A depthwise kernel has no channels to swap, and a pointwise one has a single tap.
            depthwise = ".depthwise." in new
            tensor = tensor.flip(2, 3) if depthwise else tensor.transpose(0, 1).contiguous()
        ours[new] = tensor
    return ours


def _rename(name: str) -> str:
    for block, (ours, parts) in _BLOCKS.items():
        for part, new in parts.items():
            prefix = f"{block}.{part}"
            if name == prefix or name.startswith(f"{prefix}."):
                return f"{ours}.{new}{name[len(prefix) :]}"
    raise RasedError(f"a GTCRN checkpoint has no '{name}'.")

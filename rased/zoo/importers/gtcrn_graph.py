"""Weights of GTCRN from the authors' streaming graph (GitHub Xiaobin-Rong/gtcrn, gtcrn_simple.onnx).

The graph keeps the names of most tensors. It numbers those of recurrent and linear layers, and of the encoder's
convolutions, which the norms are folded into: these are found by the order of the operators.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from rased.zoo.importers.onnx import read_graph

_NORM_EPS = 1e-5
_ENCODER = [
    *((f"encoder.en_convs.{i}", "conv", "bn", "act") for i in (0, 1)),
    *(
        (f"encoder.en_convs.{i}", *parts)
        for i in (2, 3, 4)
        for parts in (
            ("point_conv1", "point_bn1", "point_act"),
            ("depth_conv", "depth_bn", "depth_act"),
            ("point_conv2", "point_bn2", ""),
        )
    ),
]
"""Block, convolution, norm and activation, in the order of the graph."""
_SLOPES = [
    *(f"{block}.{act}" for block, _, _, act in _ENCODER if act),
    *(f"decoder.de_convs.{i}.{act}" for i in range(3) for act in ("point_act", "depth_act")),
    "decoder.de_convs.3.act",
]
_ATTENTION = [f"encoder.en_convs.{i}.tra.att" for i in (2, 3, 4)]
_RECURRENT = [
    *(f"{name}_gru" for name in _ATTENTION),
    *(
        f"dpgrnn{i}.{way}_rnn.rnn{half}"
        for i in (1, 2)
        for way in ("intra", "inter")
        for half in (1, 2)
    ),
    *(f"decoder.de_convs.{i}.tra.att_gru" for i in range(3)),
]
_LINEAR = [
    "erb.erb_fc",
    *(f"{name}_fc" for name in _ATTENTION),
    *(f"dpgrnn{i}.{way}_fc" for i in (1, 2) for way in ("intra", "inter")),
    *(f"decoder.de_convs.{i}.tra.att_fc" for i in range(3)),
    "erb.ierb_fc",
]


def read_graph_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights with the names of the authors' checkpoints.

    Raises:
        RasedError: not an ONNX file.
        ValueError: a graph of other operators.
    """
    operators, tensors = read_graph(path, "GTCRN")

    def of(kind: str) -> list[list[Tensor]]:
        return [[tensors[n] for n in names if n in tensors] for k, names in operators if k == kind]

    theirs = {
        name.replace(".ConvTranspose2d.", "."): tensor
        for name, tensor in tensors.items()
        if name.startswith(("encoder.", "decoder.", "dpgrnn"))
    }
    for (block, conv, norm, _), (weight, bias) in zip(_ENCODER, of("Conv"), strict=True):
        theirs |= {f"{block}.{conv}.weight": weight, f"{block}.{conv}.bias": bias}
        # The exporter has folded these norms into the convolutions, so ours must do nothing.
        theirs |= _identity(f"{block}.{norm}", len(bias))
    for name, (slope,) in zip(_SLOPES, of("PRelu"), strict=True):
        theirs[f"{name}.weight"] = slope.reshape(1)
    for name, parts in zip(_RECURRENT, of("GRU"), strict=True):
        # Matrices before biases; what follows the first three inputs, an initial state, is not a weight.
        theirs |= dict(_recurrent(name, sorted(parts[:3], key=lambda part: -part.ndim)))
    for name, (matrix,) in zip(_LINEAR, of("MatMul"), strict=True):
        theirs[f"{name}.weight"] = matrix.T.contiguous()
    return theirs


def _identity(norm: str, channels: int) -> dict[str, Tensor]:
    """Return a norm that changes nothing."""
    return {
        f"{norm}.weight": torch.ones(channels),
        f"{norm}.bias": torch.zeros(channels),
        f"{norm}.running_mean": torch.zeros(channels),
        # A norm divides by sqrt(variance + eps): this makes the divisor exactly 1.
        f"{norm}.running_var": torch.full((channels,), 1 - _NORM_EPS),
    }


def _recurrent(name: str, parts: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Reorder the gates: ONNX has update, reset, new; torch reset, update, new. ONNX stacks both directions."""
    kernels, recurrent, biases = parts
    for direction, suffix in enumerate(("", "_reverse")[: len(kernels)]):
        given, learned = biases[direction].chunk(2)
        for part, values in (
            ("weight_ih", kernels[direction]),
            ("weight_hh", recurrent[direction]),
            ("bias_ih", given),
            ("bias_hh", learned),
        ):
            update, reset, new = values.chunk(3)
            yield f"{name}.{part}_l0{suffix}", torch.cat([reset, update, new])

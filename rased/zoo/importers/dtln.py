"""Import DTLN with its authors' weights (GitHub breizhn/DTLN, pretrained_model): Keras files and ONNX graphs."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rased.building import build
from rased.errors import RasedError
from rased.models.dtln import DTLN
from rased.zoo.importers.checkpoint import filled
from rased.zoo.importers.hdf5 import read_tables
from rased.zoo.importers.onnx import read_graph

_LAYERS = (("first", 0), ("first", 1), ("second", 0), ("second", 1))


def import_dtln(path: Path) -> tuple[dict[str, Any], DTLN]:
    """Return the spec of the enhancer, and the enhancer with the authors' weights, in eval mode.

    Args:
        path: a Keras file of weights (.h5), or model_1.onnx with model_2.onnx in the same folder.

    Raises:
        RasedError: the file is neither.
    """
    path = Path(path)
    try:
        weights = _of_onnx(path) if path.suffix == ".onnx" else convert(read_tables(path))
    except (KeyError, ValueError, IndexError) as error:
        raise RasedError(f"'{path}' is not a DTLN of its authors: its layers differ.") from error
    spec = {
        "class_path": "rased.models.dtln.DTLN",
        "init_args": {
            "normalise": "norm.weight" in weights,
            "stft": {
                "n_fft": 512,
                "hop_length": 128,
                "win_length": 512,
                "window": "rectangular",
            },
        },
    }
    model = build(DTLN, spec)
    return spec, filled(model, weights, path, "DTLN of its authors")


def convert(tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of a Keras file to our state dict; layers are ordered by the numbers in their names.

    Raises:
        ValueError: the layers are not those of DTLN.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tables.items():
        layers.setdefault(name.partition("/")[0], {})[name.rpartition("/")[2]] = tensor
    kinds: dict[str, list[dict[str, Tensor]]] = {}
    for layer in sorted(layers, key=_number):
        kinds.setdefault(re.sub(r"_\d+$", "", layer), []).append(layers[layer])
    norms, (encoder, decoder) = kinds["instant_layer_normalization"], kinds["conv1d"]
    ours = {
        "encoder.weight": encoder["kernel:0"][0].T.contiguous(),
        "decoder.weight": decoder["kernel:0"][0].T.contiguous(),
    }
    # Without input normalisation there is only the second norm.
    names = ("norm", "encoded_norm")[-len(norms) :]
    for name, norm in zip(names, norms, strict=True):
        ours |= {f"{name}.weight": norm["gamma:0"], f"{name}.bias": norm["beta:0"]}
    for name, dense in zip(("first", "second"), kinds["dense"], strict=True):
        ours |= _dense(name, dense["kernel:0"], dense["bias:0"])
    for (name, index), lstm in zip(_LAYERS, kinds["lstm"], strict=True):
        ours |= _lstm(name, index, lstm["kernel:0"], lstm["recurrent_kernel:0"], lstm["bias:0"])
    return ours


def _of_onnx(path: Path) -> dict[str, Tensor]:
    """Convert the two graphs to our state dict: the first by its operators, the second (unrolled) by its Keras names.

    Raises:
        ValueError: the layers are not those of DTLN.
    """
    operators, tensors = read_graph(path, "DTLN")
    inputs = [names for kind, names in operators if kind in ("LSTM", "MatMul", "Add")]
    *lstms, product, bias = inputs
    ours = _dense("first", tensors[product[1]], tensors[bias[1]])
    for index, (_, *names) in enumerate(lstms):
        kernel, recurrent, both = (tensors[name][0] for name in names[:3])
        ours[f"first.recurrent.weight_ih_l{index}"] = _turned(kernel)
        ours[f"first.recurrent.weight_hh_l{index}"] = _turned(recurrent)
        for part, values in zip(("ih", "hh"), both.chunk(2), strict=True):
            ours[f"first.recurrent.bias_{part}_l{index}"] = _turned(values)
    return ours | _second(read_graph(path.with_name("model_2.onnx"), "DTLN")[1])


def _second(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def named(pattern: str) -> list[Tensor]:
        return [tensors[name] for name in sorted(tensors, key=_number) if re.search(pattern, name)]

    encoder, decoder = (kernel[..., 0] for kernel in named(r"^conv1d_\d+/kernel"))
    (gamma,), (beta,) = named(r"normalization_\d+/mul/"), named(r"normalization_\d+/add_1/")
    (kernel,), (bias,) = named(r"dense_\d+/Tensordot/Reshape_1"), named(r"dense_\d+/BiasAdd/")
    ours = {
        "encoder.weight": encoder.contiguous(),
        "decoder.weight": decoder.contiguous(),
        "encoded_norm.weight": gamma,
        "encoded_norm.bias": beta,
        **_dense("second", kernel, bias),
    }
    parts = (named(rf"lstm_\d+/{part}/") for part in ("MatMul", "MatMul_1", "BiasAdd"))
    for index, matrices in enumerate(zip(*parts, strict=True)):
        ours |= _lstm("second", index, *matrices)
    return ours


def _number(name: str) -> int:
    """Return the number of a layer: 0 for `lstm`, 3 for `lstm_3` and for `model_2/lstm_3/MatMul`."""
    numbers = re.findall(r"(?:^|/)(?:lstm|conv1d|dense|instant_layer_normalization)_(\d+)", name)
    return int(numbers[0]) if numbers else 0


def _dense(name: str, kernel: Tensor, bias: Tensor) -> dict[str, Tensor]:
    return {f"{name}.linear.weight": kernel.T.contiguous(), f"{name}.linear.bias": bias}


def _lstm(
    name: str, index: int, kernel: Tensor, recurrent: Tensor, bias: Tensor
) -> dict[str, Tensor]:
    """Convert an LSTM: the gates have PyTorch's order, the matrices are transposed, and Keras has only one bias."""
    return {
        f"{name}.recurrent.weight_ih_l{index}": kernel.T.contiguous(),
        f"{name}.recurrent.weight_hh_l{index}": recurrent.T.contiguous(),
        f"{name}.recurrent.bias_ih_l{index}": bias,
        f"{name}.recurrent.bias_hh_l{index}": torch.zeros_like(bias),
    }


def _turned(gates: Tensor) -> Tensor:
    """Reorder the gates: ONNX has input, output, forget, cell; PyTorch has input, forget, cell, output."""
    first, last, forget, cell = gates.chunk(4)
    return torch.cat([first, forget, cell, last])

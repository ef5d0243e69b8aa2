"""Weights in 8 bits, and what they cost in PESQ."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rased import audio
from rased.data.shards.index import bundle
from rased.onnx import Enhancer as Exported
from rased.onnx.runtime import session_of


def quantised(
    model: onnx.ModelProto, facts: Mapping[str, Any]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the graph with products and convolutions in 8 bits, and its facts with the PESQ of both graphs.

    Weights are rounded once, inputs of each product by their own range, chunk by chunk (dynamic quantisation of ONNX
    Runtime). GRUs keep 32 bits.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, before)
        quantize_dynamic(
            before,
            after,
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_of_the_transform(model),
        )
        small = onnx.load(after)
    scores = {
        "pesq_float": mean_pesq(Exported(session_of(model.SerializeToString()), facts)),
        "pesq_int8": mean_pesq(Exported(session_of(small.SerializeToString()), facts)),
    }
    return small, {**facts, "quantised": True, "testset": "the bundled test set", **scores}


def _of_the_transform(model: onnx.ModelProto) -> list[str]:
    """Return the products with several matrices at once: no operator takes them in 8 bits."""
    ranks = {one.name: len(one.dims) for one in model.graph.initializer}
    return [
        n.name for n in model.graph.node if n.op_type == "MatMul" and ranks.get(n.input[1]) != 2
    ]


def mean_pesq(enhancer: Exported) -> float:
    """Return the mean wide-band PESQ on the bundled test set."""
    from rased.metrics.intrusive import pesq_mos

    frozen, scores = bundle() / "frozen", []
    for path in sorted((frozen / "noisy").glob("*.flac")):
        noisy, rate = audio.read(path, sample_rate=16_000)
        target, _ = audio.read(frozen / "target" / path.name, sample_rate=16_000)
        scores.append(pesq_mos(target[0], enhancer(noisy[0], rate), "wb"))
    return float(np.mean(scores))

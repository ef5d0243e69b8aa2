"""The importer of DeepFilterNet 3: graphs in an archive, whose batch norms are part of the convolutions."""

import io
import tarfile
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from rased.building import build
from rased.classes import STRANGERS
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.models.deepfilternet import ConvBlock, DeepFilterNet3
from rased.zoo.importers import IMPORTERS
from rased.zoo.importers.deepfilternet import _BLOCKS, _LINEAR, _RECURRENT, import_deepfilternet

Nodes = list[tuple[str, list[Tensor]]]


def network() -> DeepFilterNet3:
    """Fresh weights, and batch norms that do something."""
    torch.manual_seed(0)
    model = DeepFilterNet3().eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.bias.data, layer.running_mean):
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def folded(block: ConvBlock) -> Nodes:
    """The operators of a block, its norm in the last of them."""
    norm, nodes = block.norm, []
    kernels = [block.conv.weight] + ([block.mix.weight] if isinstance(block.mix, nn.Conv2d) else [])
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight * (norm.running_var + norm.eps).rsqrt()
    for index, kernel in enumerate(kernels):
        last = index == len(kernels) - 1
        weighted = kernel * gain[:, None, None, None] if last else kernel
        nodes.append(("Conv", [weighted, norm.bias - norm.running_mean * gain][: 1 + last]))
    return nodes


def gates(tensor: Tensor) -> Tensor:
    """As ONNX has them."""
    reset, update, new = tensor.chunk(3)
    return torch.cat([update, reset, new])


def operators(model: DeepFilterNet3, graph: str) -> Nodes:
    nodes: Nodes = []
    for name in _BLOCKS[graph]:
        block = model.get_submodule(name)
        assert isinstance(block, ConvBlock)
        nodes += folded(block)
    for name in _LINEAR[graph]:
        nodes.append(("Einsum", [model.get_parameter(f"{name}.weight")]))
    for weights in model.get_submodule(_RECURRENT[graph]).all_weights:  # type: ignore[union-attr]
        into, back, *biases = (gates(tensor) for tensor in weights)
        nodes.append(("GRU", [into[None], back[None], torch.cat(biases)[None]]))
    return nodes


def graph_file(nodes: Nodes, *, constants: bool) -> bytes:
    """An ONNX file; tensors are initial ones or, as the exporter of the authors wrote some, Constant nodes."""
    parts, initial = [], []
    for number, (kind, tensors) in enumerate(nodes):
        names = [f"{number}.{place}" for place in range(len(tensors))]
        for name, tensor in zip(names, tensors, strict=True):
            value = numpy_helper.from_array(tensor.detach().numpy(), name)
            if constants and kind == "GRU":
                parts.append(helper.make_node("Constant", [], [name], value=value))
            else:
                initial.append(value)
        parts.append(helper.make_node(kind, ["x", *names], [f"y{number}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y0")]
    made = helper.make_graph(parts, "g", ends[:1], ends[1:], initial)
    return onnx.helper.make_model(made).SerializeToString()


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"tmp/export/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


@torch.no_grad()
def test_an_archive_of_graphs_is_the_network_that_they_were_made_of(tmp_path):
    model = network()
    files = {
        name: graph_file(operators(model, name), constants=name != "df_dec.onnx")
        for name in _BLOCKS
    }
    path = archive(tmp_path / "DeepFilterNet3_onnx.tar.gz", {"config.ini": b"[df]", **files})
    spec, weights, facts = IMPORTERS["deepfilternet3"](path)
    imported = build(Enhancer, spec, classes=STRANGERS).eval()
    imported.load_state_dict(weights)
    assert facts["licence"]["weights"] == "MIT OR Apache-2.0"
    noisy = 0.1 * torch.randn(1, 4_800, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(imported(noisy), model(noisy), rtol=0, atol=1e-6)


def test_what_is_no_such_archive_is_refused(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(RasedError, match=r"is not a \.tar\.gz archive"):
        import_deepfilternet(path)
    with pytest.raises(RasedError, match=r"has no enc\.onnx"):
        import_deepfilternet(archive(path, {"df_dec.onnx": b""}))
    some = graph_file(operators(network(), "df_dec.onnx"), constants=False)
    with pytest.raises(RasedError, match="is missing or unexpected"):
        import_deepfilternet(archive(path, dict.fromkeys(_BLOCKS, some)))
    with pytest.raises(RasedError, match="cannot be read"):
        import_deepfilternet(tmp_path / "none.tar.gz")

"""The importer of GTCRN: every weight finds its place; the authors' outputs where their files are."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from rased.building import build
from rased.classes import STRANGERS
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.models.cost import count_parameters
from rased.models.gtcrn import GTCRN
from rased.zoo.importers import IMPORTERS
from rased.zoo.importers.gtcrn import _BLOCKS, convert, import_gtcrn
from rased.zoo.importers.nsnet2 import import_nsnet2
from rased.zoo.loading import streamed

SHARED = Path(os.environ.get("RASED_WEIGHTS", Path(__file__).parents[3] / "shared" / "weights"))
RELEASED = Path(os.environ.get("RASED_NSNET2", SHARED / "nsnet2" / "nsnet2-20ms-baseline.onnx"))


def authors_file(path: Path, **changes) -> Path:
    """A checkpoint with the names and layouts of the authors', made from random weights of ours."""
    torch.manual_seed(0)
    theirs = {}
    for name, tensor in GTCRN().state_dict().items():
        if name.startswith("decoder.") and tensor.ndim == 4:
            depthwise = ".depthwise." in name
            tensor = tensor.flip(2, 3) if depthwise else tensor.transpose(0, 1).contiguous()
        theirs[their_name(name)] = tensor
    torch.save({"epoch": 1, "optimizer": {}, "model": {**theirs, **changes}}, path)
    return path


def their_name(name: str) -> str:
    for block, (ours, parts) in _BLOCKS.items():
        for part, new in parts.items():
            prefix = f"{ours}.{new}"
            if name == prefix or name.startswith(f"{prefix}."):
                return f"{block}.{part}{name[len(prefix) :]}"
    raise AssertionError(f"{name} has no counterpart")


def test_every_weight_finds_its_place(tmp_path):
    path = authors_file(tmp_path / "weights.tar")
    torch.manual_seed(0)
    expected, imported = GTCRN().state_dict(), import_gtcrn(path).state_dict()
    assert imported.keys() == expected.keys()
    assert all(imported[name].equal(tensor) for name, tensor in expected.items())


def test_a_transposed_convolution_of_stride_one_is_a_turned_convolution():
    weight, frames = torch.randn(4, 1, 3, 3), torch.randn(1, 4, 10, 7)
    name = "decoder.de_convs.0.depth_conv.weight"
    turned = convert({name: weight})["decoder.0.depthwise.weight"]
    padded = torch.nn.functional.pad(frames, (0, 0, 10, 0))
    theirs = torch.nn.functional.conv_transpose2d(
        padded, weight, padding=(10, 1), dilation=(5, 1), groups=4
    )
    ours = torch.nn.functional.conv2d(padded, turned, padding=(0, 1), dilation=(5, 1), groups=4)
    torch.testing.assert_close(ours, theirs)


def test_spec_weights_and_facts_make_an_entry(tmp_path):
    spec, weights, facts = IMPORTERS["gtcrn"](authors_file(tmp_path / "model_trained_on_x.tar"))
    enhancer = build(Enhancer, spec, classes=STRANGERS)
    enhancer.load_state_dict(weights)
    assert facts["licence"]["weights"] == "MIT"
    assert facts["training"] == {"data": "model_trained_on_x"}
    assert enhancer.mirrors, "its authors mirror the ends of a file"
    quiet = torch.nn.functional.pad(0.1 * torch.randn(1, 8_000), (8_000, 8_000))
    with torch.no_grad():
        live = streamed(enhancer.eval(), quiet)  # with silence before it, as every stream
        torch.testing.assert_close(live, enhancer(quiet), rtol=0, atol=1e-5)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    text = tmp_path / "text.tar"
    text.write_text("no weights")
    with pytest.raises(RasedError, match="truncated or is not a checkpoint"):
        import_gtcrn(text)
    with pytest.raises(RasedError, match="does not exist"):
        import_gtcrn(tmp_path / "missing.tar")
    torch.save({"weights": {}}, text)
    with pytest.raises(RasedError, match="no weights under the key 'model'"):
        import_gtcrn(text)
    with pytest.raises(RasedError, match=r"has no 'dpgrnn3\.x'"):
        import_gtcrn(authors_file(text, **{"dpgrnn3.x": torch.zeros(1)}))
    with pytest.raises(RasedError, match=r"erb\.analysis is"):
        import_gtcrn(authors_file(text, **{"erb.erb_fc.weight": torch.zeros(64, 100)}))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    path = tmp_path / "harmful.tar"
    torch.save({"model": {"x": Harm()}}, path)
    with pytest.raises(RasedError, match="only tensors and plain values"):
        import_gtcrn(path)
    assert not (tmp_path / "harm").exists()


def message(*fields: tuple[int, bytes | str | int]) -> bytes:
    """A protocol buffer of numbered fields."""

    def integer(value: int) -> bytes:
        low, rest = value & 127, value >> 7
        return bytes([low | 128]) + integer(rest) if rest else bytes([low])

    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(integer(number << 3) + integer(value))
        else:
            content = value.encode() if isinstance(value, str) else value
            parts.append(integer(number << 3 | 2) + integer(len(content)) + content)
    return b"".join(parts)


def onnx_file(
    path: Path, tensors: dict[str, np.ndarray], nodes: list[tuple[str, list[str]]]
) -> Path:
    """A file of the operators and initial tensors of a network."""
    graph = [(1, message(*((1, name) for name in names), (4, kind))) for kind, names in nodes]
    for name, values in tensors.items():
        sizes = [(1, size) for size in values.shape]
        content = message(*sizes, (2, 1), (8, name), (9, values.astype("<f4").tobytes()))
        graph.append((5, content))
    path.write_bytes(message((1, 6), (7, message(*graph))))
    return path


def released(path: Path, **changes: np.ndarray) -> tuple[Path, dict[str, np.ndarray]]:
    """A file with the layout of the released NSNet2 and random weights."""
    random = np.random.default_rng(0)
    shapes = {"in": (161, 400), "in.b": (400,), "o0": (400, 600), "o0.b": (600,), "o2": (600, 600)}
    shapes |= {"o2.b": (600,), "o4": (600, 161), "o4.b": (161,)}
    for layer in "12":
        shapes |= {f"w{layer}": (1, 1200, 400), f"r{layer}": (1, 1200, 400), f"b{layer}": (1, 2400)}
    tensors = {name: 0.05 * random.standard_normal(shape) for name, shape in shapes.items()}
    tensors |= changes
    nodes = [("MatMul", ["input", "in"]), ("Add", ["a", "in.b"]), ("Relu", ["b"])]
    nodes += [("GRU", ["x", f"w{layer}", f"r{layer}", f"b{layer}", "", "s"]) for layer in "12"]
    for name in ("o0", "o2", "o4"):
        nodes += [("MatMul", ["x", name]), ("Add", ["y", f"{name}.b"]), ("Relu", ["z"])]
    return onnx_file(path, tensors, nodes), tensors


def by_the_specification(tensors: dict[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    """ONNX operators in NumPy: GRU with linear_before_reset = 1, gates in the order z, r, h."""

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    hidden = np.maximum(frames @ tensors["in"] + tensors["in.b"], 0)
    for layer in "12":
        w, r, b = (tensors[f"{kind}{layer}"][0] for kind in "wrb")
        state, outputs = np.zeros(400), []
        for frame in hidden:
            x = np.split(w @ frame + b[:1200], 3)
            h = np.split(r @ state + b[1200:], 3)
            update, reset = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
            state = (1 - update) * np.tanh(x[2] + reset * h[2]) + update * state
            outputs.append(state)
        hidden = np.array(outputs)
    for name in ("o0", "o2"):
        hidden = np.maximum(hidden @ tensors[name] + tensors[f"{name}.b"], 0)
    return sigmoid(hidden @ tensors["o4"] + tensors["o4.b"])


def test_nsnet2_computes_what_its_file_says(tmp_path):
    path, tensors = released(tmp_path / "nsnet2.onnx")
    enhancer = import_nsnet2(path)
    assert count_parameters(enhancer) == enhancer.published_parameters == 2_687_561
    noisy = 0.1 * torch.randn(1, 1_600, generator=torch.Generator().manual_seed(0))
    power = enhancer.stft.analysis(noisy)[0].abs().double().square().numpy().T
    with torch.no_grad():
        mask = enhancer.predict(noisy).mask[0].T
    expected = by_the_specification(tensors, np.log10(np.maximum(power, 1e-12)))
    np.testing.assert_allclose(mask.numpy(), expected, atol=1e-5)


def test_what_is_no_nsnet2_is_refused(tmp_path):
    path = tmp_path / "x.onnx"
    for content in (b"no onnx", b"", message((7, b"")), b"\x3a\xff\xff\xff\xff\x0f"):
        path.write_bytes(content)
        with pytest.raises(RasedError, match="not an ONNX file of NSNet2"):
            import_nsnet2(path)
    with pytest.raises(RasedError, match="its operators differ"):
        import_nsnet2(onnx_file(path, {"w": np.zeros((2, 2))}, [("MatMul", ["x", "w"])]))
    with pytest.raises(RasedError, match=r"decoder\.4\.weight is \(257, 600\)"):
        import_nsnet2(released(path, o4=np.zeros((600, 257)))[0])
    with pytest.raises(RasedError, match="cannot be read"):
        import_nsnet2(tmp_path / "missing.onnx")


@pytest.mark.skipif(
    not (RELEASED.is_file() and SHARED.is_dir()),
    reason="the released file is not part of the project",
)
def test_nsnet2_gives_what_its_authors_package_gives():
    """Theirs leaves out the first frame and does not divide by the sum of its symmetric windows: so does this."""
    noisy, _ = soundfile.read(SHARED / "reference_noisy.wav", dtype="float32")
    theirs, _ = soundfile.read(SHARED / "nsnet2" / "reference_nsnet2_16k.wav", dtype="float32")
    enhancer = import_nsnet2(RELEASED)
    with torch.no_grad():
        spectrum = enhancer.stft.analysis(torch.from_numpy(noisy)[None])
        prediction, _ = enhancer.process(spectrum[..., 1:], enhancer.initial_process_state(1))
        whole = torch.cat([0 * spectrum[..., :1], prediction.spectrum], dim=-1)
        ours = enhancer.stft.synthesis(whole, len(noisy))[0]
        ours *= enhancer.stft._window_sums(ours).repeat(len(noisy) // 160)
    difference = (ours - torch.from_numpy(theirs)).abs()
    assert difference.max() < 1e-3
    assert difference[160:-160].max() < 1e-4


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' weights are not part of the project")
@pytest.mark.parametrize("data", ["dns3", "vctk"])
def test_our_output_is_that_of_the_authors_code(data):
    noisy, _ = soundfile.read(SHARED / "reference_noisy.wav", dtype="float32")
    theirs, _ = soundfile.read(SHARED / "gtcrn" / f"reference_gtcrn_{data}.wav", dtype="float32")
    enhancer = import_gtcrn(SHARED / "gtcrn" / f"model_trained_on_{data}.tar")
    with torch.no_grad():
        ours = enhancer(torch.from_numpy(noisy)[None])[0]
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-5)

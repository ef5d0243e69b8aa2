"""The importer of DTLN: its Keras files and graphs, held to the arithmetic of Keras and to the authors' outputs."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch

from rased.building import build
from rased.classes import STRANGERS
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.zoo.importers import IMPORTERS
from rased.zoo.importers.dtln import import_dtln
from rased.zoo.importers.hdf5 import read_tables
from tests.zoo.test_importers import SHARED, onnx_file

Tables = dict[str, np.ndarray]


def tables(normalised: bool, first: int = 0) -> Tables:
    """Random weights by the names of Keras, which counts layers over a session."""
    random = np.random.default_rng(0)

    def name(kind: str, number: int) -> str:
        return f"{kind}_{number + first}" if number + first else kind

    found = {}
    for index, inputs in enumerate((257, 128, 256, 128)):
        layer = name("lstm", index)
        for part, shape in [
            ("kernel", (inputs, 512)),
            ("recurrent_kernel", (128, 512)),
            ("bias", (512,)),
        ]:
            found[f"{layer}/{layer}/lstm_cell/{part}:0"] = 0.1 * random.standard_normal(shape)
    for index, outputs in enumerate((257, 256)):
        layer = name("dense", index)
        found[f"{layer}/{layer}/kernel:0"] = 0.3 * random.standard_normal((128, outputs))
        found[f"{layer}/{layer}/bias:0"] = random.standard_normal(outputs)
    for index, shape in enumerate([(1, 512, 256), (1, 256, 512)]):
        layer = name("conv1d", index)
        found[f"{layer}/{layer}/kernel:0"] = 0.05 * random.standard_normal(shape)
    for index, size in enumerate((257, 256) if normalised else (256,)):
        layer = name("instant_layer_normalization", index)
        found[f"{layer}/{layer}/gamma:0"] = 1 + 0.1 * random.standard_normal(size)
        found[f"{layer}/{layer}/beta:0"] = 0.1 * random.standard_normal(size)
    return {place: values.astype(np.float32) for place, values in found.items()}


def keras_file(path: Path, values: Tables, **options) -> Path:
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs["backend"] = "tensorflow"
        for name, table in values.items():
            file.create_dataset(name, data=table, **options)
    return path


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def by_keras(values: Tables, noisy: np.ndarray) -> np.ndarray:
    """The authors' model in NumPy: frames without a window, two masks, frames added."""
    parts: dict[str, list[Tables]] = {}
    for layer in sorted({name.partition("/")[0] for name in values}):
        own = {n.rpartition("/")[2]: v for n, v in values.items() if n.partition("/")[0] == layer}
        parts.setdefault(layer.rstrip("0123456789").rstrip("_"), []).append(own)

    def normalised(rows: np.ndarray, norm: Tables) -> np.ndarray:
        rows = rows - rows.mean(-1, keepdims=True)
        deviation = np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-7)
        return rows / deviation * norm["gamma:0"] + norm["beta:0"]

    def masked(rows: np.ndarray, lstms: list[Tables], dense: Tables) -> np.ndarray:
        for lstm in lstms:
            hidden = cell = np.zeros(128)
            outputs = []
            for row in rows:
                gates = row @ lstm["kernel:0"] + hidden @ lstm["recurrent_kernel:0"]
                i, f, c, o = np.split(gates + lstm["bias:0"], 4)
                cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
                hidden = sigmoid(o) * np.tanh(cell)
                outputs.append(hidden)
            rows = np.array(outputs)
        return sigmoid(rows @ dense["kernel:0"] + dense["bias:0"])

    norms, kernels = parts["instant_layer_normalization"], parts["conv1d"]
    padded = np.concatenate([np.zeros(384), noisy, np.zeros(384)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::128]
    spectrum = np.fft.rfft(frames)
    seen = np.abs(spectrum)
    if len(norms) == 2:
        seen = normalised(np.log(seen + 1e-7), norms[0])
    first = np.fft.irfft(spectrum * masked(seen, parts["lstm"][:2], parts["dense"][0]))
    features = first @ kernels[0]["kernel:0"][0]
    mask = masked(normalised(features, norms[-1]), parts["lstm"][2:], parts["dense"][1])
    heard = np.zeros(len(padded))
    for index, frame in enumerate((features * mask) @ kernels[1]["kernel:0"][0]):
        heard[128 * index : 128 * index + 512] += frame
    return heard[384 : 384 + len(noisy)]


@pytest.mark.parametrize(("normalised", "first"), [(True, 0), (False, 4)])
def test_it_computes_what_keras_would(tmp_path, normalised, first):
    values = tables(normalised, first)
    spec, enhancer = import_dtln(keras_file(tmp_path / "weights.h5", values))
    assert spec["init_args"]["normalise"] == normalised
    noisy = 0.1 * torch.randn(1_280, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = enhancer(noisy).numpy()
    expected = by_keras(values, noisy.numpy().astype(np.float64))
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def graphs(folder: Path, values: Tables) -> Path:
    """The two graphs of the authors with these weights: gates of the first as ONNX orders them, the second unrolled."""

    def reordered(table: np.ndarray) -> np.ndarray:
        i, f, c, o = np.split(table, 4, axis=-1)
        return np.concatenate([i, o, f, c], axis=-1).T[None]

    tensors, nodes = {}, []
    for index, layer in enumerate(("lstm_4", "lstm_5")):
        kernel, recurrent, bias = (
            values[f"{layer}/{layer}/lstm_cell/{part}:0"]
            for part in ("kernel", "recurrent_kernel", "bias")
        )
        tensors[f"{layer}_W"], tensors[f"{layer}_R"] = reordered(kernel), reordered(recurrent)
        both = np.concatenate([reordered(bias[None])[..., 0], np.zeros((1, 512))], axis=-1)
        tensors[f"{layer}_B"] = both
        nodes.append(("LSTM", [f"x{index}", *(f"{layer}_{part}" for part in "WRB")]))
    tensors["kernel"], tensors["bias"] = (
        values[f"dense_4/dense_4/{k}:0"] for k in ("kernel", "bias")
    )
    nodes += [("MatMul", ["x", "kernel"]), ("Add", ["y", "bias"])]
    path = onnx_file(folder / "model_1.onnx", tensors, nodes)
    second = {}
    for name in ("conv1d_4", "conv1d_5"):
        second[f"{name}/kernel:0"] = values[f"{name}/{name}/kernel:0"].transpose(2, 1, 0)
    norm = "instant_layer_normalization_4"
    second[f"model_2/{norm}/mul/ReadVariableOp"] = values[f"{norm}/{norm}/gamma:0"]
    second[f"model_2/{norm}/add_1/ReadVariableOp"] = values[f"{norm}/{norm}/beta:0"]
    second["model_2/dense_5/Tensordot/Reshape_1:0"] = values["dense_5/dense_5/kernel:0"]
    second["model_2/dense_5/BiasAdd/ReadVariableOp"] = values["dense_5/dense_5/bias:0"]
    for layer in ("lstm_6", "lstm_7"):
        for theirs, part in [
            ("MatMul", "kernel"),
            ("MatMul_1", "recurrent_kernel"),
            ("BiasAdd", "bias"),
        ]:
            second[f"model_2/{layer}/{theirs}/X"] = values[f"{layer}/{layer}/lstm_cell/{part}:0"]
    onnx_file(folder / "model_2.onnx", second, [("Conv", ["x"])])
    return path


def test_the_graphs_say_the_same_as_the_keras_file(tmp_path):
    values = tables(False, 4)
    _, wanted = import_dtln(keras_file(tmp_path / "weights.h5", values))
    spec, weights, facts = IMPORTERS["dtln"](graphs(tmp_path, values))
    assert facts["licence"]["weights"] == "MIT"
    enhancer = build(Enhancer, spec, classes=STRANGERS)
    enhancer.load_state_dict(weights)
    for name, tensor in wanted.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_tables_are_read_as_h5py_reads_them(tmp_path):
    values = tables(True)
    read = read_tables(keras_file(tmp_path / "weights.h5", values))
    assert read.keys() == values.keys()
    assert all(np.array_equal(read[name].numpy(), table) for name, table in values.items())


def test_many_tables_in_one_group_are_all_found(tmp_path):
    values = {f"group/{number:04}": np.full((1, 2), number, np.float32) for number in range(300)}
    read = read_tables(keras_file(tmp_path / "many.h5", values))
    assert {name: float(table[0, 1]) for name, table in read.items()} == {
        name: float(table[0, 1]) for name, table in values.items()
    }


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    path, small = tmp_path / "x.h5", {"a": np.zeros(3, np.float32)}
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(90)):
        path.write_bytes(content)
        with pytest.raises(RasedError, match="not an HDF5 file of weights"):
            read_tables(path)
    for values, options in [
        ({"a": np.zeros(3)}, {}),
        ({"a": np.zeros(3, ">f4")}, {}),
        ({"a": np.zeros(3, np.int32)}, {}),
        (small, {"chunks": (3,)}),
        (small, {"compression": "gzip"}),
    ]:
        with pytest.raises(RasedError, match="not an HDF5 file of weights"):
            read_tables(keras_file(path, values, **options))
    with h5py.File(path, "w") as file:
        file["outside"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(RasedError, match="not an HDF5 file of weights"):
        read_tables(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)])
    with pytest.raises(RasedError, match="not an HDF5 file of weights"):
        read_tables(path)
    with h5py.File(path, "w") as file:
        file["group/inside"] = file["/"]
    with pytest.raises(RasedError, match="form a loop"):
        read_tables(path)
    with pytest.raises(RasedError, match="cannot be read"):
        read_tables(tmp_path / "missing.h5")
    with pytest.raises(RasedError, match="its layers differ"):
        import_dtln(keras_file(path, small))


def test_a_damaged_file_is_read_or_refused(tmp_path):
    """Any byte of what describes the tables changed, and any end cut off."""
    path = keras_file(tmp_path / "x.h5", {"a/b": np.ones((2, 3), np.float32)})
    content = path.read_bytes()
    random, refused = np.random.default_rng(0), 0
    for number, place in enumerate(random.integers(len(content), size=500)):
        damaged = bytearray(content)
        damaged[place] = int(random.choice([0, 1, 2, 7, 255, damaged[place] ^ 16]))
        path.write_bytes(damaged if number % 4 else damaged[: place + 1])
        try:
            assert all(table.numel() <= 6 for table in read_tables(path).values())
        except RasedError:
            refused += 1
    assert refused > 100


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' weights are not part of the project")
@pytest.mark.parametrize(
    ("file", "reference"),
    [("DTLN_norm_500h.h5", "norm500h"), ("model_1.onnx", None)],
)
def test_our_output_is_that_of_the_authors_code(file, reference):
    noisy, _ = soundfile.read(SHARED / "reference_noisy.wav", dtype="float32")
    name = f"reference_dtln_{reference}.wav" if reference else "reference_dtln.wav"
    theirs, _ = soundfile.read(SHARED / "dtln" / name, dtype="float32")
    _, enhancer = import_dtln(SHARED / "dtln" / file)
    with torch.no_grad():
        ours = enhancer(torch.from_numpy(noisy)[None])[0]
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=1e-5)

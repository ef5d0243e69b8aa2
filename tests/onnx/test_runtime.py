"""`rased.onnx`: files and arrays without PyTorch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper

import rased.onnx
from rased import audio
from rased.errors import RasedError
from rased.export.graph import describe
from rased.onnx.__main__ import main
from rased.onnx.runtime import RATES, _check_conversion

HOP = 160


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A graph that delays its input by a chunk and halves it: its output is known for every input."""
    out = tmp_path_factory.mktemp("delay")
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, HOP])
        for name in ("chunk", "memory", "estimate", "memory.next")
    ]
    nodes = [
        helper.make_node("Mul", ["memory", "half"], ["estimate"]),
        helper.make_node("Identity", ["chunk"], ["memory.next"]),
    ]
    graph = helper.make_graph(nodes, "delay", tensors[:2], tensors[2:], [half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    facts = {"name": "delay", "sample_rate": 16_000, "chunk_length": HOP, "latency": HOP}
    state = {"memory": {"shape": [1, HOP], "start": 0.0}}
    describe(model, {**facts, "rased_version": "1", "state": state})
    onnx.save(model, out / "model.onnx")
    return out


@pytest.mark.parametrize("length", [1, HOP - 1, HOP, 4_321])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_an_array_comes_back_aligned_and_equally_long(folder, length, shape):
    noisy = np.random.default_rng(0).uniform(-1, 1, (*shape, length))
    estimate = rased.onnx.load(folder)(noisy)
    np.testing.assert_allclose(estimate, noisy / 2, atol=1e-7)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_a_file_of_any_rate_comes_back_aligned_and_equally_long(folder, tmp_path, rate, channels):
    time = np.arange(rate) / rate
    noisy = 0.5 * np.stack(
        [np.sin(2 * np.pi * (300 + 50 * c) * time) for c in range(channels)], axis=1
    )
    soundfile.write(tmp_path / "in.wav", noisy, rate, subtype="FLOAT")
    words = [str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--model", str(folder)]
    assert main(words) == 0
    found, found_rate = soundfile.read(tmp_path / "out.wav", always_2d=True)
    assert (found_rate, found.shape) == (rate, noisy.shape)
    inner = slice(
        rate // 10, -rate // 10
    )  # away from the ends, where a resampler has half of its window
    np.testing.assert_allclose(found[inner], noisy[inner] / 2, atol=1e-3)
    np.testing.assert_allclose(
        rased.onnx.load(folder)(noisy.T, rate).T[inner], noisy[inner] / 2, atol=1e-3
    )


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (np.zeros(HOP), "float32"),
        (np.zeros((1, HOP), np.float32), "float32"),
        (np.zeros(HOP + 1, np.float32), f"a multiple of {HOP}"),
        (np.zeros(0, np.float32), f"a multiple of {HOP}"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(folder, chunk, said):
    exported = rased.onnx.load(folder)
    with pytest.raises(RasedError, match=said):
        exported.step(chunk, exported.initial_state())


def test_files_that_are_not_exported_enhancers_are_refused(folder, tmp_path, capsys):
    with pytest.raises(RasedError, match="rased export NAME --to onnx"):
        rased.onnx.load(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(RasedError, match="cannot be run"):
        rased.onnx.load(tmp_path / "broken.onnx")
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "silent.onnx")
    with pytest.raises(RasedError, match="does not describe itself"):
        rased.onnx.load(tmp_path / "silent.onnx")
    assert main([str(tmp_path / "no.wav"), str(tmp_path / "o.wav"), "--model", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_needs_numpy_and_onnxruntime_alone():
    code = (
        "import sys, rased.onnx; rased.onnx.load()\n"
        "ours = {m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(*sorted(name for name in ours if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["numpy", "onnxruntime", "rased"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_rate", "16"),
        ("sample_rate", 0),
        ("sample_rate", True),
        ("chunk_length", 0),
        ("latency", -3),
        ("latency", None),
        ("name", ["delay"]),
        ("state", []),
        ("latency", 10**12),
        ("state", {}),
        ("state", {"memory": {"shape": [10**13], "start": 0.0}}),
        ("state", {"memory": {"shape": [1, HOP], "start": "x"}}),
        ("state", {"memory": {"shape": [1, HOP], "start": {}}}),
        ("state", {"memory": {"shape": [1, HOP]}}),
        (None, "{"),
        (None, "[]"),
        (None, "[" * 100_000),
    ],
)
def test_what_a_stranger_says_of_a_graph_is_checked(folder, tmp_path, name, value):
    model = onnx.load(folder / "model.onnx")
    (entry,) = (one for one in model.metadata_props if one.key == "rased")
    entry.value = value if name is None else json.dumps(json.loads(entry.value) | {name: value})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(RasedError, match="is damaged: export it again"):
        rased.onnx.load(tmp_path)


def test_an_output_that_cannot_be_is_said_in_a_sentence(folder, tmp_path, capsys):
    audio.write(tmp_path / "in.wav", np.full((1, 100), 0.1, np.float32), 16_000)
    for name in ("o" * 300 + ".wav", "in.wav/o.wav", "o.xyz"):
        words = [str(tmp_path / "in.wav"), str(tmp_path / name), "--model", str(folder)]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith("rased: ")
        assert said.count("\n") == 1


def test_ctrl_c_ends_it_without_a_traceback(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("rased.onnx.files.enhance_file", interrupted)
    assert main(["in.wav", str(tmp_path / "o.wav"), "--model", str(folder)]) == 130
    assert capsys.readouterr().err == "rased: interrupted\n"


def test_rates_are_those_of_rased():
    assert RATES == audio.RATES


@pytest.mark.parametrize(
    ("rate", "band", "said"),
    [
        *((rate, "full", "allowed are 1000 to 768000 Hz") for rate in (0, 1, -8_000, 10**9)),
        *((rate, "full", "whole Hz") for rate in (22_050.5, float("nan"), "16000", True)),
        (None, "wide", "give 'full' or 'model'"),
    ],
)
def test_a_rate_or_band_that_cannot_be_is_refused(rate, band, said):
    with pytest.raises(RasedError, match=said):
        _check_conversion(rate, band)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(0), "has no samples"),
        (np.zeros((2, 0)), "has no samples"),
        (np.zeros((1, 1, 9)), "shape"),
        (np.zeros(9, np.int16), "divide 16-bit samples"),
        (np.full(9, np.nan), "NaN or infinite"),
        (np.full(9, 1e300), "NaN or infinite"),  # beyond 32 bits
    ],
)
def test_what_is_not_audio_is_refused(folder, samples, said):
    with pytest.raises(RasedError, match=said):
        rased.onnx.load(folder)(samples)


def test_what_does_not_fit_the_graph_is_refused_in_a_sentence(folder):
    enhancer, chunk = rased.onnx.load(folder), np.zeros(HOP, np.float32)
    for state in ({}, enhancer.initial_state() | {"other": chunk}):
        with pytest.raises(RasedError, match=r"begin with initial_state\(\)"):
            enhancer.step(chunk, state)
    with pytest.raises(RasedError, match="open one stream for each channel"):
        enhancer.stream().push(chunk[None])

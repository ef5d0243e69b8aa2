"""`rased export`: a graph, what it says about itself, and programs that run it."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import soundfile
import torch

import rased.onnx
from rased.cli import main
from rased.errors import RasedError
from rased.export import export
from rased.export.step import random_state
from rased.export.targets import described_graph
from rased.models.registry import create_model
from rased.onnx.runtime import session_of
from tests.export.rounding import allowed
from tests.models.test_contract import audio
from tests.models.test_streams import float64  # noqa: F401


def test_any_chunking_from_any_state_gives_what_torch_gives(enhancer, folder):
    exported = rased.onnx.load(folder)
    random = np.random.default_rng(5)
    for seed in range(4):
        state = random_state(enhancer, seed)
        theirs = {name: tensor.numpy() for name, tensor in state.items()}
        for chunks in random.integers(1, 9, 8):
            chunk = 0.1 * torch.randn(1, int(chunks) * enhancer.chunk_length)
            with torch.no_grad():
                wanted, state = enhancer.step(chunk, state)
            found, theirs = exported.step(chunk[0].numpy(), theirs)
            np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-5)
        for name, tensor in state.items():
            np.testing.assert_allclose(theirs[name], tensor.numpy(), atol=1e-4, err_msg=name)


def test_a_stream_of_blocks_of_any_length_is_the_file(enhancer, folder):
    exported, noisy = rased.onnx.load(folder), audio(9_137, batch=1)[0]
    with torch.no_grad():
        wanted = enhancer(noisy).numpy()
    np.testing.assert_allclose(exported(noisy.numpy()), wanted, atol=2e-5)
    stream, parts, at = exported.stream(), [], 0
    for length in np.random.default_rng(2).integers(0, 900, 40):
        parts.append(stream.push(noisy[at : at + length].numpy()))
        at += length
    found = np.concatenate([*parts, stream.push(noisy[at:].numpy()), stream.finish()])
    np.testing.assert_array_equal(found, exported(noisy.numpy()))


def test_the_file_names_its_state_and_describes_itself(enhancer, folder):
    model = onnx.load(folder / "model.onnx")
    names = list(enhancer.initial_state())
    assert [one.name for one in model.graph.input] == ["chunk", *names]
    assert [one.name for one in model.graph.output] == ["estimate", *(f"{n}.next" for n in names)]
    assert {node.domain for node in model.graph.node} == {""}, (
        "operators of ONNX alone run everywhere"
    )
    said = {one.key: one.value for one in model.metadata_props}
    facts = json.loads(said["rased"])
    assert facts == json.loads((folder / "model.json").read_text())
    for key in ("sample_rate", "chunk_length", "latency"):
        assert int(said[key]) == facts[key] == getattr(enhancer, key)
    assert said["rased_version"] == rased.__version__
    assert len(said["weights_sha256"]) == 64
    assert 0 < facts["max_error"] < 1e-5
    for name, tensor in enhancer.initial_state().items():
        np.testing.assert_array_equal(rased.onnx.load(folder).initial_state()[name], tensor.numpy())


def test_the_example_in_python_gives_what_torch_gives(enhancer, folder, tmp_path):
    noisy = audio(5_000, batch=1)[0]
    soundfile.write(tmp_path / "noisy.wav", noisy.numpy(), 16_000, subtype="FLOAT")
    words = [sys.executable, "example.py", tmp_path / "noisy.wav", tmp_path / "enhanced.wav"]
    subprocess.run(words, cwd=folder, check=True)
    with torch.no_grad():
        wanted = enhancer(noisy).numpy()
    found, rate = soundfile.read(tmp_path / "enhanced.wav", dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(found, wanted, atol=1 / 2**15)


@torch.no_grad()
def test_floors_of_logarithms_stay_in_the_graph(tmp_path):
    """In almost silent input, a floor of 1e-8 is most of a logarithm; without it, 6 % of the input differ."""
    enhancer = rased.load("gru-mask-16k")
    export(enhancer, "gru-mask-16k", to="onnx", out=tmp_path / "out")
    graph = rased.onnx.load(tmp_path / "out")
    noisy = 1e-5 * torch.randn(1, 50 * 256, generator=torch.Generator().manual_seed(0))
    known, state = graph.initial_state(), enhancer.initial_state()
    for chunk in noisy.split(256, dim=-1):
        found, known = graph.step(chunk[0].numpy(), known)
        wanted, state = enhancer.step(chunk, state)
        np.testing.assert_allclose(found, wanted[0].numpy(), rtol=0, atol=1e-4 * 1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("gru-mask", {"inputs": {"normalisation": "utterance"}}, "needs the whole recording"),
        (
            "gru-mask",
            {"conditioning": {"name": "enrolment", "of": "embedding", "size": 4}},
            "besides the waveform it needs",
        ),
    ],
)
def test_what_a_graph_cannot_do_is_refused_with_the_reason(name, settings, reason, tmp_path):
    with pytest.raises(RasedError, match=reason):
        export(create_model(name, **settings), "mine", to="onnx", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in rased.list_checkpoints() if "offline" not in name]
)
def test_ten_minutes_are_those_of_torch(name, float64):  # noqa: F811
    enhancer = rased.load(name)
    graph, facts = described_graph(enhancer, name)
    exported, random = rased.onnx.Enhancer(session_of(graph), facts), np.random.default_rng(0)
    length = enhancer.chunk_length
    for seed in range(20):  # random states, each for half a minute in chunks of random lengths
        begun = state = random_state(enhancer, seed)
        theirs, left = {leaf: t.numpy() for leaf, t in state.items()}, round(30 * 16_000 / length)
        heard, wanted, found = [], [], []
        while left > 0:
            count = int(random.integers(1, min(left, 200) + 1))
            heard.append(audio(count * length, batch=1, seed=seed))
            with torch.no_grad():
                output, state = enhancer.step(heard[-1], state)
            wanted.append(output[0].numpy())
            output, theirs = exported.step(heard[-1][0].numpy(), theirs)
            found.append(output)
            left -= count
        difference = np.abs(np.concatenate(found) - np.concatenate(wanted)).max()
        if not difference <= 1e-5:  # the limit takes longer than the comparison
            limit = allowed(float64(enhancer), begun, torch.cat(heard, dim=-1))
            print(f"{name}, state {seed}: {difference:.1e} of {limit:.1e}")
            assert difference < limit


def test_a_target_that_does_not_exist_is_refused(capsys):
    assert main(["export", "gru-mask-16k", "--to", "onyx", "--out", "out"]) == 2
    assert "onnx" in capsys.readouterr().err

"""`rased export --streams N`: one graph that takes a chunk of each of several live streams."""

import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import onnx
import pytest
import soundfile
import torch

import rased
import rased.onnx
from rased.cli import main
from rased.errors import RasedError
from rased.export import export
from rased.export.step import Together, random_state, stacked
from rased.models.registry import create_model
from tests.models.test_contract import audio


def test_every_stream_is_what_it_is_alone(enhancer, several):
    """From random states, in random chunkings; one of them begins anew in the middle."""
    exported, random = rased.onnx.load(several), np.random.default_rng(5)
    states = [random_state(enhancer, seed) for seed in range(3)]
    theirs = {name: tensor.numpy() for name, tensor in stacked(states).items()}
    for turn in range(8):
        if turn == 4:
            states[1] = enhancer.initial_state()
            for name, start in exported.initial_state().items():
                theirs[name][1] = start[1]
        noisy = 0.1 * torch.randn(3, int(random.integers(1, 9)) * enhancer.chunk_length)
        found, theirs = exported.step(noisy.numpy(), theirs)
        for row in range(3):
            with torch.no_grad():
                wanted, states[row] = enhancer.step(noisy[row : row + 1], states[row])
            np.testing.assert_allclose(found[row], wanted[0].numpy(), atol=1e-5)
            for name, tensor in states[row].items():
                np.testing.assert_allclose(theirs[name][row], tensor, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["gtcrn", "lstm-psm", "dtln"])
@torch.no_grad()
def test_states_of_every_layout_stay_apart(name):
    """Layers in front, rows and bands in one axis: the streams of all of them are the first axis."""
    torch.manual_seed(0)
    enhancer = create_model(name).eval()
    together, length = Together(enhancer, 2), enhancer.chunk_length
    states = [random_state(enhancer, seed) for seed in range(2)]
    noisy, state = audio(2 * length, batch=2), stacked(states)
    for chunk in noisy.split(length, dim=-1):
        found, state = together(chunk, state)
        for row in range(2):
            wanted, states[row] = enhancer.step(chunk[row : row + 1], states[row])
            torch.testing.assert_close(found[row], wanted[0], atol=1e-5, rtol=0)
    for name, tensor in state.items():
        assert len(tensor) == 2, name


def test_the_example_enhances_files_together(enhancer, several, tmp_path):
    folder = shutil.copytree(several, tmp_path / "copy")
    noisy = [audio(length, batch=1, seed=length)[0] for length in (5_000, 3_210)]
    for number, one in enumerate(noisy):
        soundfile.write(folder / f"{number}.wav", one.numpy(), 16_000, subtype="FLOAT")
    words = [sys.executable, "example_streams.py", "0.wav", "1.wav"]
    subprocess.run(words, cwd=folder, check=True)
    for number, one in enumerate(noisy):
        found, _ = soundfile.read(folder / f"enhanced-{number}.wav", dtype="float32")
        with torch.no_grad():
            np.testing.assert_allclose(found, enhancer(one).numpy(), atol=2 / 2**15)


def test_recordings_need_a_graph_of_one_stream(several, tmp_path, capsys):
    exported = rased.onnx.load(several)
    for work in (exported.stream, partial(exported, np.zeros(100, np.float32))):
        with pytest.raises(RasedError, match=r"takes 3 live streams at once.*without --streams"):
            work()
    with pytest.raises(RasedError, match="takes 3 live streams at once"):
        rased.load(several)
    soundfile.write(tmp_path / "in.wav", np.zeros(100), 16_000)
    assert main(["enhance", str(tmp_path / "in.wav"), "--model", str(several)]) == 2
    assert "takes 3 live streams at once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (np.zeros(160, np.float32), r"of shape \(3, time\)"),
        (np.zeros((2, 160), np.float32), "2 rows: give one for each of 3 streams"),
        (np.zeros((3, 7), np.float32), "7 samples"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(several, chunk, said):
    exported = rased.onnx.load(several)
    with pytest.raises(RasedError, match=said):
        exported.step(chunk, exported.initial_state())


def test_what_a_stranger_says_of_the_number_is_checked(several, tmp_path):
    model = onnx.load(several / "model.onnx")
    for one in model.metadata_props:
        one.value = one.value.replace('"streams": 3', '"streams": 4')
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(RasedError, match="damaged"):
        rased.onnx.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"streams": 0}, "--streams is 0"),
        ({"streams": 2, "to": "web"}, "--streams is for --to onnx"),
        ({"streams": 2, "int8": True}, "--streams is for --to onnx"),
        ({"streams": 2, "out": None}, "--streams is for --to onnx"),
    ],
)
def test_what_has_no_graph_of_several_streams_is_refused(enhancer, tmp_path, options, said):
    with pytest.raises(RasedError, match=said):
        export(enhancer, "tiny", **{"to": "onnx", "out": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists()

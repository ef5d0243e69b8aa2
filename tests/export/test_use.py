"""An exported folder wherever a model is named: `rased.load`, files, folders, raw streams and the live loop."""

import copy
import io
import json
import pickle
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

import rased
import rased.onnx
from rased import audio
from rased.cli import main
from rased.cli.enhance.batch import _loaded
from rased.errors import RasedError
from rased.evaluation.scoring.systems import resolve as evaluated
from rased.evaluation.testset import BUNDLE, read_testset
from rased.models.identity import fingerprint
from rased.models.limited import Limited
from rased.onnx.__main__ import main as without_torch
from rased.streaming import open_stream
from rased.zoo import resolve
from rased.zoo.origin import find
from rased.zoo.registry import entries
from tests.models.test_contract import audio as noise

CLOSE = 2e-5


def noisy(rate, seconds=0.5, channels=2):
    generator = np.random.default_rng(7)
    return (0.1 * generator.standard_normal((channels, round(rate * seconds)))).astype(np.float32)


@torch.no_grad()
def test_it_is_an_enhancer_of_the_same_facts_and_numbers(enhancer, folder):
    exported = rased.load(folder)
    for name in ("sample_rate", "latency", "chunk_length", "total_latency", "causal", "channels"):
        assert getattr(exported, name) == getattr(enhancer, name)
    waveform = noise(4_321)
    torch.testing.assert_close(exported(waveform), enhancer(waveform), rtol=0, atol=CLOSE)
    torch.testing.assert_close(exported(waveform[0]), enhancer(waveform[0]), rtol=0, atol=CLOSE)
    stream = open_stream(exported, len(waveform))
    parts = [stream.push(part) for part in waveform.tensor_split([1, 2, 777, 3_001], dim=-1)]
    found = torch.cat([*parts, stream.finish()], dim=-1)
    torch.testing.assert_close(found, exported(waveform), rtol=0, atol=0)


@torch.no_grad()
def test_rows_are_streams_of_their_own_and_a_given_state_stays(folder):
    exported = rased.load(folder)
    waveform = noise(4 * exported.chunk_length, batch=3)
    first, second = waveform.split(2 * exported.chunk_length, dim=-1)
    _, state = exported.step(first, exported.initial_state(3))
    before = {name: tensor.clone() for name, tensor in state.items()}
    wanted, _ = exported.step(second, state)
    for row in range(3):
        alone = {name: tensor[row : row + 1] for name, tensor in state.items()}
        found, _ = exported.step(second[row : row + 1], alone)
        assert torch.equal(found[0], wanted[row])
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())


@torch.no_grad()
def test_a_copy_and_another_process_have_the_same_graph(folder):
    exported, waveform = rased.load(folder), noise(1_000)
    wanted = exported(waveform)
    for made in (copy.deepcopy(exported), pickle.loads(pickle.dumps(exported))):
        assert torch.equal(made(waveform), wanted)
        assert fingerprint(made) == fingerprint(exported)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_any_precision_is_taken(folder, dtype):
    exported, waveform = rased.load(folder), noise(1_000).to(dtype)
    assert torch.equal(exported(waveform), exported(waveform.float()))
    _, state = exported.step(waveform[:, : exported.chunk_length], exported.initial_state(2))
    state = {name: tensor.clone().requires_grad_() for name, tensor in state.items()}
    estimate, _ = exported.step(waveform[:, : exported.chunk_length], state)
    assert estimate.dtype == torch.float32


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("options", [{}, {"band": "model"}, {"limit_db": 6.0}])
def test_band_and_limit_are_those_of_the_checkpoint(enhancer, folder, rate, options):
    waveform, model = noisy(rate), enhancer
    found = rased.enhance(waveform, rate, model=folder, **options)
    if "limit_db" in options:  # a graph hides its own transform
        model = Limited(enhancer, options["limit_db"]).eval()
        options = {}
    wanted = rased.enhance(waveform, rate, model=model, **options)
    np.testing.assert_allclose(found, wanted, atol=CLOSE)


@pytest.mark.parametrize(("rate", "band"), [(48_000, "full"), (44_100, "model"), (16_000, "full")])
def test_with_and_without_torch_a_file_is_the_same(folder, tmp_path, rate, band, capsys):
    source = tmp_path / "in.wav"
    audio.write(source, noisy(rate), rate, coding="FLOAT")
    words = ["--model", str(folder), "--band", band]
    assert without_torch([str(source), str(tmp_path / "bare.wav"), *words]) == 0
    bare = capsys.readouterr().err
    assert main(["enhance", str(source), "-o", str(tmp_path / "torch.wav"), *words]) == 0
    said = capsys.readouterr().err
    found, wanted = (audio.read(tmp_path / name)[0] for name in ("bare.wav", "torch.wav"))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert ("Hz file" in bare) == ("Hz file" in said) == (rate > 16_000)
    array = rased.onnx.load(folder)(noisy(rate), rate, band=band)
    np.testing.assert_allclose(array, wanted, atol=1e-6)


def test_a_raw_stream_runs_in_the_graph(folder, monkeypatch):
    samples, out = noisy(16_000, channels=1), io.BytesIO()
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(samples.tobytes())))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        words = ["enhance", "-", "-o", "-", "--raw", "f32le", "--model", str(folder / "model.onnx")]
        assert main(words) == 0
    found = np.frombuffer(out.getvalue(), np.float32)
    np.testing.assert_allclose(found, rased.onnx.load(folder)(samples[0]), atol=1e-6)


@pytest.mark.parametrize("limit", [[], ["--limit-db", "9"]])
def test_the_live_loop_runs_in_the_graph(folder, tmp_path, capsys, limit):
    audio.write(tmp_path / "in.wav", noisy(48_000), 48_000, coding="FLOAT")
    names = [str(tmp_path / name) for name in ("in.wav", "live.wav", "whole.wav")]
    model = ["--model", str(folder), *limit, "--json"]
    assert main(["live", "--input", names[0], "--output", names[1], *model]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["lost_samples"] == 0
    assert main(["enhance", names[0], "-o", names[2], *model]) == 0
    found, wanted = (audio.read(name)[0] for name in names[1:])
    np.testing.assert_allclose(found[:, report["delay"] : -4_000], wanted[:, :-4_000], atol=1e-5)


def test_a_folder_is_skipped_until_the_graph_is_another(folder, tmp_path, capsys):
    graph = tmp_path / "graph"
    shutil.copytree(folder, graph)
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in/a.wav", noisy(16_000), 16_000)
    words = ["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(graph)]
    assert main(words) == 0
    capsys.readouterr()

    def again():
        assert main([*words, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        return len(report["files"]), len(report["skipped"])

    assert again() == (0, 1)
    before = fingerprint(rased.load(graph))
    model = onnx.load(graph / "model.onnx")
    model.doc_string = "another"
    onnx.save(model, graph / "model.onnx")
    assert fingerprint(rased.load(graph)) != before
    _loaded.cache_clear()  # as in a new process
    assert again() == (1, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "{}", "--to", "onnx", "--out", "{}/again"], "it is an exported graph"),
        (
            ["evaluate", "{}", "--on", "bundle", "--out", "{}/rows"],
            "is an exported graph without a card",
        ),
        (["enhance", "{}/in.wav", "--model", "{}", "--condition", "speaker=a.wav"], "speaker"),
    ],
)
def test_what_a_graph_cannot_do_is_refused(folder, capsys, words, said):
    audio.write(folder / "in.wav", noisy(16_000), 16_000)
    assert main([word.format(folder) for word in words]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_an_entry_of_the_zoo_with_its_graph_is_an_entry():
    place = entries()["gtcrn-tuned-16k"]
    assert (place / "model.onnx").is_file()
    assert resolve(str(place)).kind == "zoo"
    assert evaluated(str(place), read_testset(BUNDLE)).kind == "zoo"
    assert find(str(place)) == place


def test_training_does_not_start_from_a_graph(folder):
    with pytest.raises(RasedError, match=r"an exported graph, which cannot be trained"):
        find(str(folder))


def test_a_graph_for_litert_is_refused(enhancer, tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"")
    with pytest.raises(RasedError, match=r"a graph for LiteRT, which rased does not run"):
        rased.load(tmp_path)


def test_a_file_needs_no_torch(folder, tmp_path):
    audio.write(tmp_path / "in.wav", noisy(48_000), 48_000)
    words = ["in.wav", "out.wav", "--model", str(folder)]
    code = (
        "import sys\n"
        "from rased.onnx.__main__ import main\n"
        f"sys.exit(main({words}) or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert audio.inspect(tmp_path / "out.wav").frames == 24_000

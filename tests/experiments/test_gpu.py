"""The trainings of experiments/gpu: carriers give back what they took, other kernels compute the same, a dry run."""

import importlib.util
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import rased
from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.pack import pack
from rased.data.shards import opus
from rased.errors import RasedError
from rased.layers.weight_norm import WeightNormGRU, scaled_rows

GPU = Path(__file__).parents[2] / "experiments" / "gpu"
RATE = 16_000


def _module(name):
    spec = importlib.util.spec_from_file_location(f"gpu_{name}", GPU / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


carry, kernels = _module("carry"), _module("kernels")


@pytest.fixture
def packed(tmp_path):
    """Speech and responses as `rased data pack` writes them, in two splits and a test split."""
    random = np.random.default_rng(0)
    for role, files, seconds in (("speech", 9, 0.6), ("rir", 3, 0.2)):
        for number in range(files):
            split = ("train", "valid", "test")[number % 3]
            path = tmp_path / "in" / role / split / f"{split}{number % 2}" / f"{number:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            decay = np.exp(-np.arange(int(seconds * RATE)) / 900) if role == "rir" else 1
            sound = 0.2 * decay * random.standard_normal(int(seconds * RATE))
            soundfile.write(path, sound, RATE, subtype="PCM_16")
        pack([tmp_path / "in" / role], tmp_path / "small" / role, role=role, codec="pcm16")
    return tmp_path / "small"


def test_what_is_carried_arrives(packed, tmp_path, monkeypatch):
    """All recordings of train and valid, none of test; speech as its codec leaves it, responses bit for bit."""
    monkeypatch.setattr(carry, "SHARD_MB", 0.01)
    kbits = {"speech": 26.0, "rir": 0.0}
    for role in kbits:
        codec = "flac" if role == "rir" else "opus"
        target = tmp_path / "coded" / "small" / role
        carry.recode([packed / role], target, codec, kbits=kbits[role], shard_mb=0.01)
    parts = carry.parts(tmp_path / "coded", tmp_path / "parts", mb=0.03)
    assert len(parts) > 1
    for part in parts:
        with tarfile.open(part) as tar:
            assert sum(member.size for member in tar) <= 0.03e6
    carry.unpack(parts, tmp_path / "there")
    for role in kbits:
        with pytest.raises(RasedError, match=r"in split 'test'"):
            Corpus([tmp_path / "there" / "small"], role=role, split="test")
        for split in ("train", "valid"):
            here = Corpus([packed], role=role, split=split)
            there = Corpus([tmp_path / "there" / "small"], role=role, split=split)
            assert there.key.tolist() == here.key.tolist()
            assert there.label.tolist() == here.label.tolist()
            for number in range(len(here)):
                original = here.read(number)
                if role == "speech":
                    samples = np.rint(original * 32768).astype(np.int16)
                    data = opus.encode([samples], RATE, 26.0)
                    original = opus.decode(data, 0, len(original))
                assert np.array_equal(there.read(number), original)


def _gradients(layer, sequence, output, weight):
    layer.zero_grad()
    sequence.grad = None
    (output * weight).sum().backward()
    return [sequence.grad.clone(), *(item.grad.clone() for item in layer.parameters())]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_lstm_without_biases_is_the_lstm(bidirectional, batch_first):
    torch.manual_seed(0)
    layer = nn.LSTM(5, 6, bidirectional=bidirectional, batch_first=batch_first)
    sequence = torch.randn(7, 3, 5, requires_grad=True)
    expected, (memory, cell) = layer(sequence)
    weight = torch.randn_like(expected)
    wanted = _gradients(layer, sequence, expected, weight)
    output, (other_memory, other_cell) = kernels.lstm(layer, sequence, None, half=False)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close((other_memory, other_cell), (memory, cell))
    for ours, theirs in zip(_gradients(layer, sequence, output, weight), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_two_layers_are_the_layers_one_after_the_other():
    torch.manual_seed(0)
    layer = nn.LSTM(5, 6, num_layers=2, bidirectional=True)
    sequence, state = torch.randn(7, 3, 5), (torch.randn(4, 3, 6), torch.randn(4, 3, 6))
    torch.testing.assert_close(
        kernels.lstm(layer, sequence, state, half=False), layer(sequence, state)
    )


def test_applied_kernels_are_those_that_run():
    """In a process of its own: layers of rased call them, whatever module they are in."""
    code = """
import torch
from torch import nn
from rased.layers.dual_path import ResidualLSTM
from rased.layers.weight_norm import WeightNormGRU
from experiments.gpu import kernels
ran = []
inner = kernels._run
kernels._run = lambda function, *given, **named: (ran.append(function), inner(function, *given, **named))[1]
kernels.apply("plain")
path = ResidualLSTM(4, 6, across=False, bidirectional=True, scope="utterance")
path(torch.randn(3, 2, 5, 4), path.initial_state(2, 3, torch.zeros(())))
WeightNormGRU(4, 6)(torch.randn(5, 2, 4), torch.zeros(1, 2, 6))
assert ran == [torch.lstm, torch.gru], ran
"""
    root = GPU.parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True)


@pytest.mark.parametrize("half", [False, True])
def test_a_gru_with_a_unit_that_stays_one_is_the_gru(half):
    """In float16 too, and with gradients that would vanish there."""
    torch.manual_seed(0)
    layer = WeightNormGRU(5, 6)
    sequence, state = torch.randn(7, 3, 5, requires_grad=True), torch.randn(1, 3, 6)
    expected, after = layer(sequence, state)
    weight = 1e-9 * torch.randn_like(expected)
    wanted = _gradients(layer, sequence, expected, weight)
    parts = [
        scaled_rows(layer.weight_ih_l0, layer.scale_ih),
        scaled_rows(layer.weight_hh_l0, layer.scale_hh),
        layer.bias_ih_l0,
        layer.bias_hh_l0,
    ]
    output, other = kernels.gru(layer, sequence, state, parts, half=half)
    precise = {"rtol": 1e-2, "atol": 2e-3} if half else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(output, expected, **precise)
    torch.testing.assert_close(other, after, **precise)
    for ours, theirs in zip(_gradients(layer, sequence, output, weight), wanted, strict=True):
        torch.testing.assert_close(1e9 * ours, 1e9 * theirs, rtol=2e-2, atol=2e-2)


@pytest.mark.slow
def test_a_dry_run_ends_with_the_clock_and_brings_weights_home(tmp_path):
    """The command of the GPU on a CPU: two trainings side by side for a minute, and what comes back loads."""
    root = GPU.parents[1]
    names = ["fastenhancer-mid-16k", "dereverb-offline-16k"]
    words = [
        "--trainer.accelerator",
        "cpu",
        "--trainer.precision",
        "32-true",
        "--data.batch_size",
        "2",
    ]
    words += [
        "--data.scene.segment",
        "0.5",
        "--data.validation_samples",
        "2",
        "--data.num_workers",
        "0",
    ]
    for role in ("speech", "noise", "rir"):
        words += [f"--data.{role}", "[bundle]"]
    begun = time.time()
    start = [sys.executable, GPU / "train.py", *names, "--minutes", "1.5"]
    ran = subprocess.run(
        [*start, "--runs", tmp_path / "runs", "--out", tmp_path / "out", "--", *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.time() - begun < 150, ran.stdout
    pieces = sorted((tmp_path / "out").glob("home.tar.gz.*"), key=lambda path: int(path.suffix[1:]))
    whole = tmp_path / "home.tar.gz"
    whole.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(whole) as tar:
        tar.extractall(tmp_path / "home", filter="data")
    for name in names:
        config = (tmp_path / "home" / name / "config.yaml").read_text()
        assert "UntilTime" in config
        enhancer = rased.load(tmp_path / "home" / name)
        estimate = enhancer(torch.randn(1, 4000))
        assert estimate.isfinite().all()
        checkpoint = tmp_path / "home" / name / "checkpoints" / "best.ckpt"
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        assert state
        assert not [key for key in state if key.startswith("enhancer.")]
        assert f"{name} | " in ran.stdout

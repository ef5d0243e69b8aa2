"""What is measured of a system is what it takes."""

import json
import time

import pytest
import torch

from rased.evaluation.scoring import memory
from rased.evaluation.scoring.cost import measure
from rased.evaluation.scoring.systems import System
from rased.evaluation.testset import read_testset
from rased.models.base import Enhancer, Prediction


class Busy(Enhancer):
    """Works for a time that follows from the shape of its input."""

    latency = 0

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def predict(self, noisy):
        until = time.thread_time() + self.seconds(*noisy.shape)
        while time.thread_time() < until:
            pass
        return Prediction(noisy)


class Hungry(Enhancer):
    """Takes 8 bytes for each sample and some megabytes of weights."""

    def __init__(self, megabytes):
        super().__init__()
        print("a model may print")
        self.weights = torch.nn.Parameter(torch.ones(round(megabytes * 250_000)))

    def predict(self, noisy):
        return Prediction(noisy * torch.ones(1000, 1)[:, :1].mean())


def test_frames_gain_by_batches_and_samples_do_not(folder):
    testset = read_testset(folder)
    frames = measure(Busy(lambda batch, time: 0.02 * time / 16_000), testset)
    assert frames["real_time_factor"] == pytest.approx(0.02, rel=0.1)
    assert frames["batch_gain"] == pytest.approx(4, rel=0.1)
    samples = measure(Busy(lambda batch, time: 0.02 * batch * time / 16_000), testset)
    assert samples["real_time_factor"] == pytest.approx(0.02, rel=0.1)
    assert samples["batch_gain"] == pytest.approx(1, rel=0.1)


def test_memory_is_that_of_loading_and_enhancing(monkeypatch, capfd):
    monkeypatch.setattr(System, "load", lambda system: Hungry(float(system.source)))
    words = [{"name": "x", "kind": "run", "source": source} for source in ("1", "201")]
    memory.tell(json.dumps([words, {}]))
    small, large = map(float, capfd.readouterr().out.splitlines())
    assert large - small == pytest.approx(200, rel=0.1)


def test_a_system_that_dies_has_no_figure_and_the_others_have(tmp_path):
    gone = System("gone", "run", str(tmp_path / "gone"))
    with memory.MemoryOf([gone, System("wiener", "classical", "wiener")]) as measured:
        found = measured.megabytes()
    assert found["gone"] is None
    assert 1 < found["wiener"] < 500

"""DNSMOS against the code of the package that carries the network."""

import sys
import types

import numpy as np
import pytest
import torch

from rased.metrics import metric
from rased.metrics.non_intrusive import WINDOW, p835, windows


@pytest.fixture(scope="module")
def package():
    """The package's own code; librosa (features of the P.808 network, not ours) is a stand-in."""
    stand_in = types.ModuleType("librosa")
    stand_in.feature = types.SimpleNamespace(
        melspectrogram=lambda y, **_: np.ones((120, len(y) // 160))
    )
    stand_in.power_to_db = lambda power, ref: power
    if "librosa" not in sys.modules:
        sys.modules["librosa"] = stand_in
    try:
        from speechmos import dnsmos
    finally:
        if sys.modules.get("librosa") is stand_in:
            del sys.modules["librosa"]
    return dnsmos


def test_equals_the_package_on_a_long_clip(noisy, package):
    long = np.resize(noisy.numpy(), 11 * 16_000 + 123)
    theirs = package.run(long, 16_000)
    for value, name in zip(p835(long), ("sig_mos", "bak_mos", "ovrl_mos"), strict=True):
        assert value == pytest.approx(float(theirs[name]), abs=1e-4)


# Made by the network of speechmos 0.0.1.1 for the fixtures: sig, bak, ovrl.
FROZEN = {"noisy": (3.3017, 2.5857, 2.2578), "target": (3.1056, 3.8042, 2.7624)}


@pytest.mark.parametrize("role", sorted(FROZEN))
def test_frozen_values(role, request):
    waveform = request.getfixturevalue(role)
    for name, expected in zip(("sig", "bak", "ovrl"), FROZEN[role], strict=True):
        outcome = metric(f"dnsmos-{name}")(estimate=waveform, sample_rate=16_000)
        assert outcome.value == pytest.approx(expected, abs=5e-3)


def test_windows_are_those_of_the_package():
    ramp = np.arange(30 * 16_000, dtype=np.float32)
    short = windows(ramp[:50_000])
    assert short.shape == (1, WINDOW)
    assert (short[0, 50_000:100_000] == ramp[:50_000]).all()
    assert (windows(ramp[:WINDOW]) == ramp[:WINDOW]).all()
    expected = []
    for index in range(int(np.floor(30) - 9.01) + 1):
        piece = ramp[int(index * 16_000) : int((index + 9.01) * 16_000)]
        if len(piece) >= 144_160:
            expected.append(piece[0])
    assert windows(ramp)[:, 0].tolist() == expected


def test_samples_beyond_full_scale_are_clipped(noisy):
    loud = 20 * noisy
    assert p835(loud.numpy()) == p835(torch.clamp(loud, -1, 1).numpy())


def test_three_values_cost_one_run(noisy, monkeypatch):
    import rased.metrics.non_intrusive as module

    session, runs = module._session(), []

    class Counting:
        def run(self, outputs, inputs):
            runs.append(1)
            return session.run(outputs, inputs)

    monkeypatch.setattr(module, "_session", Counting)
    fresh = noisy * 0.77
    for part in ("sig", "bak", "ovrl"):
        metric(f"dnsmos-{part}")(estimate=fresh, sample_rate=16_000)
    assert len(runs) == 1

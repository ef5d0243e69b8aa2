"""LSD and MCD against their formulas, written apart from them."""

import math

import numpy as np
import pytest

from rased.metrics import metric


def value(name, estimate, target):
    outcome = metric(name)(estimate=estimate, target=target, sample_rate=16_000)
    assert outcome.status == "ok"
    return outcome.value


def power(signal):
    """Periodic Hann windows of 512 samples every 128 that touch a sample: (frames, 257)."""
    padded = np.pad(signal.double().numpy(), (384, 512))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    count = math.ceil((len(signal) + 384) / 128)
    return np.array(
        [np.abs(np.fft.rfft(window * padded[128 * k : 128 * k + 512])) ** 2 for k in range(count)]
    )


def test_log_spectral_distance(in_babble, spoken):
    levels = []
    for signal in (in_babble, spoken):
        db = 10 * np.log10(power(signal) + 1e-30)
        levels.append(np.maximum(db, db.max() - 50))
    expected = np.mean([np.sqrt(np.mean(d**2)) for d in levels[0] - levels[1]])
    assert value("lsd", in_babble, spoken) == pytest.approx(expected, abs=1e-4)


def test_a_gain_is_a_distance_of_as_many_decibels(spoken, in_babble):
    noise = (in_babble - spoken)[:16_000]  # no point of it 50 dB below its highest, nearly
    louder = metric("lsd")(estimate=2 * noise, target=noise, sample_rate=16_000)
    assert louder.value == pytest.approx(20 * math.log10(2), abs=1e-3)


def mel(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def test_mel_cepstral_distortion_is_kubicheks(in_babble, spoken):
    edges = [700 * (10 ** (m / 2595) - 1) / 8000 * 256 for m in np.linspace(0, mel(8000), 42)]
    triangles = np.zeros((40, 257))
    for k, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for j in range(257):
            up = (j - left) / (centre - left) if centre - left >= 1 else 1 - (centre - j)
            down = (right - j) / (right - centre) if right - centre >= 1 else 1 - (j - centre)
            triangles[k, j] = max(0.0, min(up, down))
    cepstra = []
    for signal in (in_babble, spoken):
        log_magnitude = 0.5 * np.log(power(signal) @ triangles.T + 1e-8)
        k = np.arange(1, 41)
        basis = np.array([np.cos(d * (k - 0.5) * np.pi / 40) for d in range(1, 25)])
        cepstra.append(2 / 40 * log_magnitude @ basis.T)
    square = ((cepstra[0] - cepstra[1]) ** 2).sum(1)
    expected = np.mean(10 / math.log(10) * np.sqrt(2 * square))
    assert value("mcd", in_babble, spoken) == pytest.approx(expected, abs=1e-3)

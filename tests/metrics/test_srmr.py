"""SRMR against torchmetrics' translation of SRMRpy, whose two missing packages are stood in for."""

import sys
import types

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

import rased.metrics.srmr as module
from rased.metrics import metric


def srmr(waveform):
    outcome = metric("srmr")(estimate=waveform, sample_rate=16_000)
    assert outcome.status == "ok"
    return outcome.value


def _centre_freqs(sample_rate, count, lowest):
    shift = 9.26449 * 24.7
    share = np.arange(1, count + 1) / count
    return (
        -shift + (sample_rate / 2 + shift) * ((lowest + shift) / (sample_rate / 2 + shift)) ** share
    )


def _make_erb_filters(sample_rate, centres):
    """Slaney's coefficients: A0, A11 .. A14, A2, B0, B1, B2, gain, from Apple TR 35."""
    step = 1 / sample_rate
    rows = []
    for centre in centres:
        decay = 1.019 * 2 * np.pi * (centre / 9.26449 + 24.7) * step
        angle = 2 * np.pi * centre * step
        a1 = [
            -step
            * np.exp(-decay)
            * (np.cos(angle) + sign * np.sqrt(3 + root * 2**1.5) * np.sin(angle))
            for root, sign in ((1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        b = [1.0, -2 * np.cos(angle) * np.exp(-decay), np.exp(-2 * decay)]
        z = np.exp(-1j * angle)
        gain = abs(np.prod([step + a * z for a in a1]) / (b[0] + b[1] * z + b[2] * z**2) ** 4)
        rows.append([step, *a1, 0.0, *b, gain])
    return np.array(rows)


def _lfilter(waveform, a, b, clamp=True, batching=True):
    rows, channels = waveform.numpy(), waveform.shape[-2]
    out = np.empty_like(rows)
    for c in range(channels):
        out[..., c, :] = lfilter(b[c].numpy(), a[c].numpy(), rows[..., c, :])
    return torch.from_numpy(out)


@pytest.fixture
def theirs(monkeypatch):
    from torchmetrics.functional.audio import srmr as reference

    stand_ins = {
        "gammatone": {},
        "gammatone.filters": {
            "centre_freqs": _centre_freqs,
            "make_erb_filters": _make_erb_filters,
        },
        "gammatone.fftweight": {"fft_gtgram": None},
        "torchaudio": {},
        "torchaudio.functional": {},
        "torchaudio.functional.filtering": {"lfilter": _lfilter},
    }
    for name, content in stand_ins.items():
        stand_in = types.ModuleType(name)
        vars(stand_in).update(content)
        monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.setattr(reference, "_TORCHAUDIO_AVAILABLE", True)
    monkeypatch.setattr(reference, "_GAMMATONE_AVAILABLE", True)
    return reference.speech_reverberation_modulation_energy_ratio


@pytest.mark.parametrize("role", ["early", "in_room", "in_babble"])
def test_equals_torchmetrics(role, theirs, request):
    waveform = request.getfixturevalue(role)[:30_000]
    # Its Hamming window has a period of one sample more than SRMRpy's.
    assert srmr(waveform) == pytest.approx(float(theirs(waveform.double(), 16_000)), rel=1e-4)


def test_gammatone_filters_are_those_of_the_definition():
    time = np.arange(4096) / 16_000
    impulse = np.zeros(4096)
    impulse[0] = 1.0
    for band in (5, 12, 20):
        centre = module._centres()[band]
        width = 1.019 * 2 * np.pi * (centre / 9.26449 + 24.7)
        wanted = time**3 * np.exp(-width * time) * np.cos(2 * np.pi * centre * time)
        found = impulse
        for section in module._gammatones()[band]:
            found = lfilter(section[:3], section[3:], found)
        spectra = [np.abs(np.fft.rfft(response)) for response in (wanted, found)]
        near = np.abs(np.fft.rfftfreq(4096, 1 / 16_000) - centre) < width / (2 * np.pi)
        shapes = [spectrum[near] / spectrum[near].max() for spectrum in spectra]
        assert np.abs(shapes[0] - shapes[1]).max() < 0.02
        assert spectra[1].max() == pytest.approx(1.0, abs=0.01)


def test_a_room_lowers_it(early, in_room):
    assert srmr(in_room) < 0.9 * srmr(early)

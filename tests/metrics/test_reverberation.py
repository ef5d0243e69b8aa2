"""Early-to-late ratio where the answer is known, and in a real room."""

import io
import tarfile

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import fftconvolve

from rased.evaluation.testset import BUNDLE
from rased.metrics import metric
from rased.signal.room import direct_path


def elr(estimate, target):
    found = metric("elr")(
        estimate=torch.from_numpy(estimate).float(),
        target=torch.from_numpy(target).float(),
        sample_rate=16_000,
    )
    assert found.status == "ok"
    return found.value


def test_the_parts_of_a_known_filter():
    rng = np.random.default_rng(3)
    target = 0.1 * rng.standard_normal(48_000)
    taps = np.zeros(4000)
    taps[[0, 300, 740]] = 1.0, -0.5, 0.2  # within 50 ms
    taps[[900, 1500, 3900]] = 0.3, 0.2, -0.1  # from 50 ms on
    parts = [fftconvolve(target, np.where(side, taps, 0))[:48_000] for side in _sides(800)]
    expected = 10 * np.log10((parts[0] ** 2).sum() / (parts[1] ** 2).sum())
    assert elr(sum(parts), target) == pytest.approx(expected, abs=0.1)
    # What comes a little before the target is early; a constant gain and noise that is alike count little.
    ahead = np.roll(sum(parts), -50)
    assert elr(0.3 * ahead, target) == pytest.approx(expected, abs=0.2)
    noisy = sum(parts) + 0.01 * rng.standard_normal(48_000)
    assert elr(noisy, target) == pytest.approx(expected, abs=0.2)


def _sides(middle):
    early = np.arange(4000) < middle
    return early, ~early


def test_speech_in_real_rooms():
    with tarfile.open(BUNDLE.parent / "speech" / "test-000000.tar") as tar:
        dry = next(_flacs(tar)).astype(np.float64)[:56_000]
    with tarfile.open(BUNDLE.parent / "rir" / "test-000000.tar") as tar:
        rooms = [rir[int(direct_path(torch.from_numpy(rir))) :] for rir in _flacs(tar)]
    true, found = [], []
    for room in rooms[::2]:
        early = np.where(np.arange(len(room)) < 800, room, 0)
        target, late = (fftconvolve(dry, part)[: len(dry)] for part in (early, room - early))
        true.append(10 * np.log10((target**2).sum() / (late**2).sum()))
        found.append(elr(target + late, target))
        assert elr(target + late / 2, target) == pytest.approx(found[-1] + 6, abs=1.0)
    assert np.argsort(found).tolist() == np.argsort(true).tolist()
    excess = np.subtract(found, true)
    assert -0.5 < excess.min() <= excess.max() < 4.0


def _flacs(tar):
    for member in sorted(tar.getmembers(), key=lambda member: member.name):
        if member.name.endswith(".flac"):
            yield soundfile.read(io.BytesIO(tar.extractfile(member).read()), dtype="float32")[0]

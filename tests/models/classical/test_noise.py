"""Noise trackers on noise of known power, through the methods that carry them."""

import numpy as np
import pytest
import torch

from rased.models.classical import OMLSA, LogMMSE
from rased.models.classical.noise import decay, smoothing_matrix

LEVEL = 0.01


def noise(seconds, level=LEVEL, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return level * torch.randn(2, int(16_000 * seconds), generator=generator)


def tracked(enhancer, waveform, part):
    """Tracked noise behind each quarter of a second, in dB over the PSD of white noise of LEVEL."""
    spectrum = enhancer.stft.analysis(waveform)
    state, found = enhancer.initial_process_state(len(waveform)), []
    power = LEVEL**2 * enhancer.stft.win_length / 2  # the squares of the window sum to a half of it
    for frames in spectrum.split(round(enhancer.frame_rate / 4), dim=-1):
        _, state = enhancer.process(frames, state)
        found.append(float(10 * (state[part][:, 3:-3].mean() / power).log10()))
    return found[:-1]  # the last frames lie beyond the end


@pytest.mark.parametrize(
    ("enhancer", "part", "below", "above"),
    # The MMSE tracker leaves out what it takes for speech: it is somewhat below the truth.
    [(OMLSA(), 4, -1.0, 1.0), (LogMMSE(), 1, -2.0, 0.5)],
    ids=["imcra", "mmse"],
)
def test_white_noise_has_the_power_that_its_spectrum_has(enhancer, part, below, above):
    found = tracked(enhancer, noise(4), part)
    assert all(below < decibels < above for decibels in found[1:]), found


@pytest.mark.parametrize(
    ("enhancer", "part", "seconds"),
    [(OMLSA(), 4, 2.25), (LogMMSE(), 1, 1.0)],
    ids=["imcra", "mmse"],
)
def test_noise_that_rises_by_10_db_is_followed(enhancer, part, seconds):
    louder = noise(4, LEVEL * 10**0.5, seed=1)
    found = tracked(enhancer, torch.cat([noise(2), louder], dim=-1), part)
    before, after = round(2 / 0.25), round((2 + seconds) / 0.25)
    assert max(found[:before]) < 1.0
    assert min(found[after:]) > 8.0, found


def test_noise_that_falls_is_followed_at_once():
    quieter = noise(2, LEVEL, seed=1)
    found = tracked(OMLSA(), torch.cat([noise(2, LEVEL * 10**0.5), quieter], dim=-1), 4)
    assert max(found[round(2.5 / 0.25) :]) < 1.5


def test_the_paper_s_constants_at_its_frame_rate():
    tracker = OMLSA().tracker
    assert decay(tracker.smoothing, 125.0) == pytest.approx(0.9, abs=2e-3)
    assert decay(0.049, 125.0) == pytest.approx(0.85, abs=2e-3)
    assert round(0.96 * 125 / tracker.blocks) == 15


def test_smoothing_is_a_mean_that_keeps_constants():
    matrix = smoothing_matrix(9, 1)
    np.testing.assert_allclose(matrix.sum(0), 1, rtol=1e-6)
    np.testing.assert_allclose(matrix[3:6, 4], [0.25, 0.5, 0.25], rtol=1e-6)
    np.testing.assert_allclose(matrix[:2, 0], [2 / 3, 1 / 3], rtol=1e-6)

"""Convolution by spectra, split up as on a processor and whole as on an accelerator, against direct sums."""

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rased.signal import convolution


@pytest.fixture(params=[True, False], ids=["by parts", "whole"])
def ways(request, monkeypatch):
    monkeypatch.setattr(convolution, "by_parts", lambda device: request.param)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    time=st.integers(1, 900),
    taps=st.integers(1, 400),
    direct=st.integers(0, 399),
    seed=st.integers(0, 99),
)
def test_convolution_is_aligned_to_the_direct_path(ways, time, taps, direct, seed):
    direct = min(direct, taps - 1)
    random = torch.Generator().manual_seed(seed)
    waveform = torch.randn(time, generator=random, dtype=torch.float64)
    rir = torch.randn(taps, generator=random, dtype=torch.float64)
    expected = np.convolve(waveform.numpy(), rir.numpy())[direct : direct + time]
    heard = convolution.convolve(waveform, rir, direct)
    np.testing.assert_allclose(heard[: len(expected)], expected, atol=1e-9)
    assert heard[len(expected) :].abs().max() < 1e-9 if len(expected) < time else True


def test_single_precision_is_kept(ways):
    random = np.random.default_rng(0)
    waveform, rir = random.standard_normal(64_000), random.standard_normal(16_000) / 100
    expected = scipy.signal.fftconvolve(waveform, rir)[960 : 960 + 64_000]
    heard = convolution.convolve(
        torch.from_numpy(waveform.astype(np.float32)), torch.from_numpy(rir.astype(np.float32)), 960
    )
    np.testing.assert_allclose(heard.numpy(), expected, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("time", [1, 7, 32, 33, 64])
def test_restore_inverts_transform(time, ways):
    waveform = torch.randn(time, generator=torch.Generator().manual_seed(time))
    back = torch.empty_like(waveform)
    convolution.restore(convolution.transform(waveform, 64)[None], out=[back])
    torch.testing.assert_close(back, waveform, rtol=0, atol=1e-6)


@given(samples=st.integers(1, 3_000_000))
def test_grids_are_long_enough_and_little_longer(samples):
    length = convolution.grid_length(samples)
    assert samples <= length <= 1.25 * samples + 64
    assert length % (2 * convolution.PARTS) == 0


def test_bits_depend_neither_on_the_place_in_memory_nor_on_threads():
    random = torch.Generator().manual_seed(0)
    waveform, rir = torch.randn(30_011, generator=random), torch.randn(7_001, generator=random)
    expected = convolution.convolve(waveform, rir, 40)
    threads = torch.get_num_threads()
    try:
        for offset, count in ((0, 1), (1, 2), (3, 1), (7, 4)):
            torch.set_num_threads(count)
            moved = torch.cat([torch.zeros(offset), waveform])[offset:]
            assert torch.equal(convolution.convolve(moved, rir, 40), expected)
    finally:
        torch.set_num_threads(threads)

"""Convolution in half-length complex transforms, against direct sums."""

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rased.signal import room


@settings(deadline=None)
@given(
    time=st.integers(1, 900),
    taps=st.integers(1, 400),
    direct=st.integers(0, 399),
    seed=st.integers(0, 99),
)
def test_convolution_is_aligned_to_the_direct_path(time, taps, direct, seed):
    direct = min(direct, taps - 1)
    random = torch.Generator().manual_seed(seed)
    waveform = torch.randn(time, generator=random, dtype=torch.float64)
    rir = torch.randn(taps, generator=random, dtype=torch.float64)
    expected = np.convolve(waveform.numpy(), rir.numpy())[direct : direct + time]
    heard = room.convolve(waveform, rir, direct)
    np.testing.assert_allclose(heard[: len(expected)], expected, atol=1e-9)
    assert heard[len(expected) :].abs().max() < 1e-9 if len(expected) < time else True


def test_single_precision_is_kept():
    random = np.random.default_rng(0)
    waveform, rir = random.standard_normal(64_000), random.standard_normal(16_000) / 100
    expected = scipy.signal.fftconvolve(waveform, rir)[960 : 960 + 64_000]
    heard = room.convolve(
        torch.from_numpy(waveform.astype(np.float32)), torch.from_numpy(rir.astype(np.float32)), 960
    )
    np.testing.assert_allclose(heard.numpy(), expected, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("time", [1, 7, 16, 17, 32])
def test_restore_inverts_transform(time):
    waveform = torch.randn(time, generator=torch.Generator().manual_seed(time))
    back = torch.empty_like(waveform)
    room.restore(room.transform(waveform, 16), out=back)
    torch.testing.assert_close(back, waveform, rtol=0, atol=1e-6)

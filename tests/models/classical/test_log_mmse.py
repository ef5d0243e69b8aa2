"""Log-MMSE against the integrals it stands for, and what a noise tracker must do."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import exp1

from rased.models.classical import LogMMSE
from rased.models.classical.log_mmse import exponential_integral, log_mmse_gain
from rased.signal.ratios import si_sdr


def noise(seconds, level, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return level * torch.randn(1, int(16_000 * seconds), generator=generator)


def bursts(seconds):
    """A harmonic tone that comes and goes: nothing a noise tracker should follow."""
    time = torch.arange(int(16_000 * seconds)) / 16_000
    tone = sum(torch.sin(2 * torch.pi * 180 * k * time) / k for k in range(1, 12))
    return (0.1 * tone * (torch.sin(2 * torch.pi * 1.5 * time) < -0.3))[None]


def test_exponential_integral_equals_scipy():
    value = np.logspace(-6, 1.9, 500, dtype=np.float32)
    np.testing.assert_allclose(exponential_integral(value), exp1(value), rtol=0, atol=5e-5)


@pytest.mark.parametrize(("prior", "posterior"), [(0.1, 0.5), (1.0, 1.0), (3.0, 10.0)])
def test_gain_is_that_of_equation_20(prior, posterior):
    wiener = prior / (1 + prior)
    integral, _ = quad(lambda t: np.exp(-t) / t, wiener * posterior, np.inf)
    found = log_mmse_gain(
        np.array([prior], dtype=np.float32), np.array([posterior], dtype=np.float32)
    )
    assert found[0] == pytest.approx(wiener * np.exp(integral / 2), rel=1e-4)


def test_gain_tends_to_wiener_where_the_signal_is_strong():
    prior = np.array([100.0], dtype=np.float32)
    assert log_mmse_gain(prior, prior)[0] == pytest.approx(100 / 101, rel=1e-4)


def test_tracks_the_power_of_stationary_noise():
    enhancer = LogMMSE()
    spectrum = enhancer.stft.analysis(noise(4, 0.05))
    _, (tracked, _, _, heard) = enhancer.process(spectrum, enhancer.initial_process_state(1))
    true = spectrum[..., 20:-20].abs().square().mean()
    # The estimator leaves out what it takes for speech: somewhat below the truth, never above.
    assert -2.0 < 10 * float((tracked[:, 5:-5].mean() / true).log10()) < 0.5
    assert float(heard) == 7.0


def test_follows_noise_that_rises():
    enhancer = LogMMSE()
    waveform = torch.cat([noise(2, 0.01), noise(3, 0.05, seed=1)], dim=-1)
    estimate = enhancer(waveform)
    tail = slice(4 * 16_000, 5 * 16_000)
    reduction = 10 * (estimate[:, tail].square().mean() / waveform[:, tail].square().mean()).log10()
    assert reduction < -10.0


def test_noise_goes_down_and_the_signal_stays():
    enhancer = LogMMSE()
    clean = bursts(4)
    noisy = clean + noise(4, 0.02)
    before = si_sdr(estimate=noisy, target=clean)
    after = si_sdr(estimate=enhancer(noisy), target=clean)
    assert float(after - before) > 4.0
    # Without noise nothing is taken away, once a pause has shown that there is none.
    heard = enhancer(clean)[:, 16_000:].square().mean() / clean[:, 16_000:].square().mean()
    assert 10 * float(heard.log10()) == pytest.approx(0.0, abs=0.5)


def test_the_gain_has_its_floor_and_its_ceiling():
    enhancer = LogMMSE(gain_floor_db=-12.0, presence_weight=1.0)
    spectrum = enhancer.stft.analysis(bursts(1) + noise(1, 0.05))
    prediction, _ = enhancer.process(spectrum, enhancer.initial_process_state(1))
    assert float(prediction.mask.min()) >= 10 ** (-12 / 20) * (1 - 1e-5)
    assert float(prediction.mask.max()) <= 1.0


def test_silence_before_the_noise_does_not_start_the_estimate():
    enhancer = LogMMSE()
    late = torch.cat([torch.zeros(1, 8000), noise(2, 0.05)], dim=-1)
    reduction = enhancer(late)[:, -8000:].square().mean() / late[:, -8000:].square().mean()
    assert 10 * reduction.log10() < -10.0


def test_level_of_the_input_does_not_matter():
    enhancer = LogMMSE()
    noisy = bursts(1) + noise(1, 0.02)
    torch.testing.assert_close(enhancer(0.1 * noisy), 0.1 * enhancer(noisy), rtol=0, atol=1e-5)

"""Gains against closed forms in double precision (scipy), at their limits, and against integrals."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import exp1, iv

from rased.models.classical.gains import (
    decision_directed,
    exponential_integral,
    log_mmse_gain,
    mmse_stsa_gain,
    presence_probability,
    subtraction_gain,
    wiener_gain,
)
from rased.signal import gains

PRIOR, POSTERIOR = (
    part.ravel().astype(np.float32)
    for part in np.meshgrid(np.logspace(-2.5, 2, 19), np.logspace(-2, 2, 17))
)


def test_exponential_integral_equals_scipy():
    value = np.logspace(-6, 1.9, 500, dtype=np.float32)
    np.testing.assert_allclose(exponential_integral(value), exp1(value), rtol=0, atol=5e-5)


def test_log_mmse_gain_equals_the_closed_form():
    prior, posterior = PRIOR.astype(np.float64), POSTERIOR.astype(np.float64)
    wiener = prior / (1 + prior)
    true = wiener * np.exp(exp1(wiener * posterior) / 2)
    np.testing.assert_allclose(log_mmse_gain(PRIOR, POSTERIOR), true, rtol=1e-4)


def test_gains_of_tensors_equal_those_of_frames_and_have_gradients():
    prior, posterior = torch.from_numpy(PRIOR), torch.from_numpy(POSTERIOR)
    found = gains.log_mmse_gain(prior, posterior).numpy()
    np.testing.assert_allclose(found, log_mmse_gain(PRIOR, POSTERIOR), rtol=1e-5)
    decibels = torch.linspace(-60, 60, 500, dtype=torch.float64, requires_grad=True)
    ratio = 10 ** (decibels / 10)
    gains.log_mmse_gain(ratio, ratio + 1).sum().backward()
    step = 1e-3
    above, below = (10 ** ((decibels.detach() + sign * step) / 10) for sign in (1, -1))
    rise = gains.log_mmse_gain(above, above + 1) - gains.log_mmse_gain(below, below + 1)
    steady = (ratio.detach() - 1).abs() > 0.01  # two formulas meet at 1, with an error below 5e-5
    torch.testing.assert_close(
        decibels.grad[steady], (rise / (2 * step))[steady], rtol=1e-2, atol=1e-5
    )


def test_mmse_stsa_gain_equals_the_closed_form():
    prior, posterior = PRIOR.astype(np.float64), POSTERIOR.astype(np.float64)
    v = prior / (1 + prior) * posterior
    bessel = (1 + v) * iv(0, v / 2) + v * iv(1, v / 2)
    true = np.sqrt(np.pi) / 2 * np.sqrt(v) / posterior * np.exp(-v / 2) * bessel
    np.testing.assert_allclose(mmse_stsa_gain(PRIOR, POSTERIOR), true, rtol=1e-5)


def test_mmse_stsa_gain_is_the_mean_amplitude_that_the_frame_leaves():
    # The amplitude given the frame is Rician around the Wiener estimate: noise power 1, so the
    # frame has amplitude sqrt(posterior) and the speech left over has power wiener.
    prior, posterior = 2.0, 3.0
    wiener = prior / (1 + prior)
    center = wiener * np.sqrt(posterior)

    def density(amplitude):
        exponent = -(amplitude**2 + center**2) / wiener
        return 2 * amplitude / wiener * np.exp(exponent) * iv(0, 2 * amplitude * center / wiener)

    mean, _ = quad(lambda amplitude: amplitude * density(amplitude), 0, 20)
    found = mmse_stsa_gain(np.array([prior]), np.array([posterior]))
    assert found[0] * np.sqrt(posterior) == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("gain", [log_mmse_gain, mmse_stsa_gain])
def test_gains_tend_to_wiener_where_the_signal_is_strong_and_exceed_it_elsewhere(gain):
    strong = np.array([1e3], dtype=np.float32)
    assert gain(strong, strong)[0] == pytest.approx(wiener_gain(strong)[0], rel=1e-3)
    assert (gain(PRIOR, POSTERIOR) > wiener_gain(PRIOR) * (1 - 1e-4)).all()


def test_presence_probability_is_bayes():
    prior, posterior, absence = 4.0, 2.0, 0.3
    # Power of the frame over the noise is exponential with mean 1, or 1 + prior with speech.
    without = absence * np.exp(-posterior)
    speech = (1 - absence) * np.exp(-posterior / (1 + prior)) / (1 + prior)
    found = presence_probability(np.array([prior]), np.array([posterior]), np.array([absence]))
    assert found[0] == pytest.approx(speech / (speech + without))
    certain = presence_probability(PRIOR, POSTERIOR, np.zeros_like(PRIOR))
    np.testing.assert_array_equal(certain, 1)
    assert presence_probability(PRIOR, np.zeros_like(PRIOR), np.ones_like(PRIOR)).max() < 1e-5


def test_decision_directed_prior_is_a_share_of_the_past_and_of_the_present():
    frame, noise, clean = (np.full((1, 1), power, np.float32) for power in (6.0, 2.0, 4.0))
    prior, posterior = decision_directed(frame, noise, clean, smoothing=0.75, floor=0.01)
    assert posterior[0, 0] == 3.0
    assert prior[0, 0] == pytest.approx(0.75 * 2 + 0.25 * 2)
    prior, _ = decision_directed(noise / 10, noise, 0 * clean, smoothing=0.75, floor=0.01)
    assert prior[0, 0] == pytest.approx(0.01)


def test_subtraction_of_powers_and_of_magnitudes():
    ratio = np.array([0.25, 1.0, 4.0])
    powers = subtraction_gain(ratio, 2.0, floor=0.04, exponent=2.0)
    np.testing.assert_allclose(powers, [np.sqrt(0.5), 0.2, 0.4])
    boll = subtraction_gain(ratio, 1.0, floor=0.0, exponent=1.0)
    np.testing.assert_allclose(boll, [0.5, 0.0, 0.0])

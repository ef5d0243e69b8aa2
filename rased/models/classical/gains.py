"""Gains of statistical enhancement as functions of prior and posterior SNR, each with its equation.

Prior SNR: expected power of speech over that of the noise, before observing the frame. Posterior SNR: power of
the frame over that of the noise. Sources:

- 1984: Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error short-time
  spectral amplitude estimator", IEEE TASSP 32(6), 1984, 10.1109/TASSP.1984.1164453.
- 1985: Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error log-spectral
  amplitude estimator", IEEE TASSP 33(2), 1985, 10.1109/TASSP.1985.1164550.
- 2001: I. Cohen, B. Berdugo, "Speech enhancement for non-stationary noise environments", Signal
  Processing 81(11), 2001, 10.1016/S0165-1684(01)00128-1.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32

from rased.signal.gains import E1_LOWER, E1_SERIES, E1_UPPER

TINY = 1e-12
"""Power of a bin (far below one 16-bit step) that counts as silent."""

# Frames are processed one by one; numpy is several times faster than torch on a single short row.
Row = Float32[np.ndarray, "batch freq"]
Values = Float[np.ndarray, "*shape"]


def decision_directed(
    frame: Row, noise: Row, clean: Row, *, smoothing: float, floor: float
) -> tuple[Row, Row]:
    """Return prior and posterior SNR: equation 51 of 1984.

    Args:
        frame: power of the noisy frame.
        noise: power of the noise.
        clean: power of the previous enhanced frame.
        smoothing: weight of the previous frame in the prior SNR.
        floor: smallest prior SNR.
    """
    noise = np.maximum(noise, TINY)
    posterior = np.clip(frame / noise, 1e-3, 1e4)  # -30 to 40 dB
    prior = smoothing * clean / noise + (1 - smoothing) * np.maximum(posterior - 1, 0)
    return np.clip(prior, floor, 1e4), posterior


def wiener_gain(prior: Values) -> Values:
    """Return the gain that minimises the squared error of the complex amplitude: prior / (1 + prior)."""
    return prior / (1 + prior)


def mmse_stsa_gain(prior: Values, posterior: Values) -> Values:
    """Return the gain that minimises the squared error of the amplitude: equation 7 of 1984.

    The Bessel functions are scaled by exp(-v / 2) to avoid overflow.
    """
    v = wiener_gain(prior) * posterior
    # i0e and i1e include the exp(-v / 2) of the equation.
    bessel_0 = torch.special.i0e(torch.from_numpy(v / 2)).numpy()
    bessel_1 = torch.special.i1e(torch.from_numpy(v / 2)).numpy()
    return np.sqrt(np.pi * v) / (2 * posterior) * ((1 + v) * bessel_0 + v * bessel_1)


def log_mmse_gain(prior: Values, posterior: Values) -> Values:
    """Return the gain that minimises the squared error of the log amplitude: equation 20 of 1985."""
    wiener = wiener_gain(prior)
    return wiener * np.exp(0.5 * exponential_integral(wiener * posterior))


def exponential_integral(value: Values) -> Values:
    """Return E1(v), the integral of exp(-t) / t from v > 0 to infinity, with an error below 5e-5.

    Source: see `rased.signal.gains`, which has the coefficients.
    """
    # `np.where` computes both branches: the argument of each is kept within its range.
    small = np.clip(value, 1e-10, 1.0)
    series = np.float32(E1_SERIES[0])
    for coefficient in E1_SERIES[1:]:
        series = series * small + np.float32(coefficient)
    large = np.clip(value, 1.0, 80.0)
    upper = large * (large + E1_UPPER[0]) + E1_UPPER[1]
    fraction = upper / (large * (large + E1_LOWER[0]) + E1_LOWER[1])
    return np.where(value <= 1.0, series - np.log(small), fraction * np.exp(-large) / large)


def presence_probability(prior: Values, posterior: Values, absence: Values) -> Values:
    """Return the probability that speech is present in a bin, given its frame: p(k, l) of 2001, for Gaussian spectra.

    Args:
        prior: prior SNR.
        posterior: posterior SNR.
        absence: prior probability that speech is absent, in [0, 1].
    """
    v = np.minimum(wiener_gain(prior) * posterior, 80.0)  # exp(-80) is a normal float32
    odds = absence / np.maximum(1 - absence, 1e-6)
    return 1 / (1 + odds * (1 + prior) * np.exp(-v))


def subtraction_gain(
    ratio: Values, over: Float[np.ndarray, "*#shape"] | float, *, floor: float, exponent: float
) -> Values:
    """Return gains of spectral subtraction with over-subtraction and a spectral floor, at most 1.

    Equations 5 and 6 of M. Berouti, R. Schwartz, J. Makhoul, "Enhancement of speech corrupted by
    acoustic noise", ICASSP 1979, 10.1109/ICASSP.1979.1170788. With exponent 1, over 1 and floor 0
    it is the subtraction and half-wave rectification of S. Boll, "Suppression of acoustic noise in
    speech using spectral subtraction", IEEE TASSP 27(2), 1979, 10.1109/TASSP.1979.1163209.

    Args:
        ratio: power of the noise over power of the frame.
        over: over-subtraction factor.
        floor: share of the noise that remains, applied to `ratio` to the power of `exponent / 2`.
        exponent: 1: subtract magnitudes; 2: subtract powers.
    """
    noise = ratio ** (exponent / 2)  # from a ratio of powers to one in the domain of `exponent`
    rest = np.maximum(1 - over * noise, floor * noise)
    return np.minimum(rest, 1.0) ** (1 / exponent)

"""Gains of statistical enhancement for tensors, with gradients; those of `models.classical` are for single frames."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.signal.domains import Spectrum

Values = Float[Tensor, "*shape"]

E1_SERIES = (0.00107857, -0.00976004, 0.05519968, -0.24991055, 0.99999193, -0.57721566)
E1_UPPER, E1_LOWER = (2.334733, 0.250621), (3.330657, 1.681534)
"""Coefficients of the exponential integral: Abramowitz, Stegun, Handbook of Mathematical Functions, 5.1.53, 5.1.54."""


def log_mmse_gain(prior: Values, posterior: Values) -> Values:
    """Return the gain that minimises the squared error of the log amplitude: equation 20 of Ephraim and Malah 1985.

    Args:
        prior: prior SNR, above 0.
        posterior: posterior SNR, above 0; prior + 1 is what is expected of it.
    """
    wiener = prior / (1 + prior)
    return wiener * (0.5 * exponential_integral(wiener * posterior)).exp()


def exponential_integral(value: Values) -> Values:
    """Return E1(v), the integral of exp(-t) / t from v > 0 to infinity, with an error below 5e-5."""
    # Both branches are computed: the clamps keep values and gradients of each finite.
    small = value.clamp(1e-10, 1.0)
    series = torch.full_like(small, E1_SERIES[0])
    for coefficient in E1_SERIES[1:]:
        series = series * small + coefficient
    large = value.clamp(1.0, 80.0)
    upper = large * (large + E1_UPPER[0]) + E1_UPPER[1]
    lower = large * (large + E1_LOWER[0]) + E1_LOWER[1]
    return torch.where(value <= 1.0, series - small.log(), upper / lower * (-large).exp() / large)


def floored(estimate: Spectrum, noisy: Spectrum, limit_db: float) -> Spectrum:
    """Replace the bins of an estimate that are more than `limit_db` below the noisy ones by noisy ones at this level.

    Louder bins stay as they are. A limit of 0 returns the noisy spectrum.
    """
    if limit_db == 0:
        return noisy
    # dB to a factor of the amplitude
    least = 10.0 ** (-limit_db / 20.0) * noisy
    return torch.where(estimate.abs() < least.abs(), least, estimate)

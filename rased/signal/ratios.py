"""Signal ratios that losses and metrics share: bounded, with finite gradients."""

from jaxtyping import Float
from torch import Tensor

BOUND_DB = 100.0
"""Ratios are limited to [-BOUND_DB, BOUND_DB] dB; a silent estimate or target gives -BOUND_DB."""

_SHARE = 10 ** (-BOUND_DB / 10)
# In power: -250 dB.
_TINY = 1e-25


def snr(
    *, estimate: Float[Tensor, "*batch time"], target: Float[Tensor, "*batch time"]
) -> Float[Tensor, "*batch"]:
    """Return the signal-to-noise ratio in dB: the power of `target` over the power of `target - estimate`.

    The mean is not removed: an offset is an error. Scaling the estimate changes the value. If both are
    silent, the value is -100 dB.
    """
    return _bounded_db(_power(target), _power(target - estimate))


def si_sdr(
    *, estimate: Float[Tensor, "*batch time"], target: Float[Tensor, "*batch time"]
) -> Float[Tensor, "*batch"]:
    """Return the scale-invariant signal-to-distortion ratio in dB.

    Both means are removed first. The target is then scaled to fit the estimate, and the rest is
    distortion: Le Roux, Wisdom, Erdogan, Hershey, "SDR - half-baked or well done?", ICASSP 2019,
    equation 3 (arXiv 1811.02508). Neither scale nor offset of either signal changes the value.
    If either is silent, the value is -100 dB; if both are equal, 100 dB.
    """
    estimate = estimate - estimate.mean(-1, keepdim=True)
    target = target - target.mean(-1, keepdim=True)
    scale = (estimate * target).mean(-1, keepdim=True) / (_power(target)[..., None] + _TINY)
    projection = scale * target
    return _bounded_db(_power(projection), _power(estimate - projection))


def _power(signal: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    return signal.square().mean(-1)


def _bounded_db(
    signal: Float[Tensor, "*batch"], noise: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    # A share of both in numerator and denominator bounds the ratio without a kink: gradients stay finite.
    share = _SHARE * (signal + noise)
    # If both are silent, this is _TINY / (_TINY / _SHARE) = -BOUND_DB.
    return 10 * ((signal + share + _TINY) / (noise + share + _TINY / _SHARE)).log10()

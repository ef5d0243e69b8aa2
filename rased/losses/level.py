"""Levels of waveforms for losses that do not know the level, and gradients that stay bounded near silence."""

from jaxtyping import Bool, Float
from torch import Tensor

from rased.signal.domains import Waveform

QUIETEST = 1e-9
"""Mean power below which a target counts as silent: -90 dB full scale."""
_SOFT = 1e-6
"""Mean power at which the gradient of a normalised estimate is halved, since it would be infinite at 0."""


def sounding(target: Waveform) -> Bool[Tensor, " batch"]:
    """Return which targets are not silent."""
    return target.square().mean(-1) > QUIETEST


def normalised(waveform: Waveform) -> Waveform:
    """Divide by the rms of each waveform; the gradient of a waveform below about -60 dB is damped. Silence stays."""
    power = waveform.square().mean(-1, keepdim=True)
    return damped(waveform * (power + 1e-20).rsqrt(), power / (power + _SOFT))


def mean_of_sounding(values: Float[Tensor, " batch"], target: Waveform) -> Float[Tensor, ""]:
    """Return the mean over the batch, in which items with a silent target count 0."""
    return (values * sounding(target)).mean()


def damped(values: Tensor, share: Tensor) -> Tensor:
    """Return the values with their gradient multiplied by `share`, which is constant for the gradient itself."""
    # The value is `values`; the second term is 0 and only carries the gradient.
    return values.detach() + share.detach() * (values - values.detach())

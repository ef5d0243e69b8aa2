"""Delayed linear prediction: the late reverberation of each bin is predicted from its past and subtracted."""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor

from rased.signal.domains import Bins

Observed = Complex[Tensor, "batch channel freq frames"]

_LOADING = 1e-10
"""Share of the mean power on the diagonal, so that a silent bin can be solved, too."""


def dereverberated(
    observed: Observed, power: Bins, *, taps: int, delay: int, floor: float = 1e-6
) -> Observed:
    """Subtract what `taps` past frames of all channels predict, weighted by the inverse power of the wanted speech.

    The closed form of one iteration of the weighted prediction error: T. Nakatani et al., IEEE TASLP 18(7), 2010,
    10.1109/TASL.2010.2052251. Computed in double precision, with gradients for both arguments. A recording with fewer
    frames than unknowns is returned unchanged.

    Args:
        observed: spectra of all microphones.
        power: of the speech that is to remain, in each bin.
        taps: number of past frames of each channel.
        delay: frames between the newest of them and the current one.
        floor: smallest power that counts, relative to that of the loudest bin; below it, pauses would decide alone.
    """
    _, channels, _, frames = observed.shape
    if frames <= channels * taps + delay:
        return observed
    precise = observed.to(torch.complex128)
    past = torch.stack([_delayed(precise, delay + tap) for tap in range(taps)], dim=1)
    past = rearrange(past, "batch tap channel freq frames -> batch freq (tap channel) frames")
    present = rearrange(precise, "batch channel freq frames -> batch freq channel frames")
    weighted = past * _inverse(power.double(), floor)[:, :, None]
    correlation = weighted @ past.mH
    level = correlation.diagonal(dim1=-2, dim2=-1).real.mean(-1)[..., None, None]
    unit = torch.eye(past.shape[2], dtype=precise.dtype, device=precise.device)
    correlation = correlation + (_LOADING * level + torch.finfo(torch.float64).tiny) * unit
    filters = torch.linalg.solve(correlation, weighted @ present.mH)
    rest = present - filters.mH @ past
    return rearrange(rest, "batch freq channel frames -> batch channel freq frames").to(observed)


def _delayed(spectra: Observed, frames: int) -> Observed:
    silence = torch.zeros_like(spectra[..., :frames])
    return torch.cat([silence, spectra[..., : spectra.shape[-1] - frames]], dim=-1)


def _inverse(
    power: Float[Tensor, "batch freq frames"], floor: float
) -> Float[Tensor, "batch freq frames"]:
    """Return the inverse of the power, limited; the level does not matter."""
    loudest = power.detach().amax((1, 2), keepdim=True)
    loudest = torch.where(loudest > 0, loudest, 1.0)
    return 1.0 / (power / loudest).clamp_min(floor)

"""How far one waveform lies behind another, and how to undo it."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.signal.convolution import fft_length


def delay(
    *, estimate: Float[Tensor, " time"], reference: Float[Tensor, " time"], limit: int
) -> int | None:
    """Samples by which the estimate lags behind the reference: the peak of their cross-correlation.

    Args:
        estimate: what may be late (positive) or early (negative), or turned round in sign.
        reference: as long.
        limit: largest delay that is looked for, in samples.

    Returns:
        None where one of the two is silent.
    """
    length = fft_length(2 * estimate.shape[-1])
    spectra = [torch.fft.rfft(waveform.double(), length) for waveform in (estimate, reference)]
    correlation = torch.fft.irfft(spectra[0] * spectra[1].conj(), length)
    limit = min(limit, estimate.shape[-1] - 1)
    near = torch.cat([correlation[length - limit :], correlation[: limit + 1]]).abs()
    return int(near.argmax()) - limit if bool(near.max() > 0) else None


def undelay(waveform: Float[Tensor, " time"], samples: int) -> Float[Tensor, " time"]:
    """The waveform `samples` earlier, as long as before; zeros come in where nothing is known."""
    moved = torch.zeros_like(waveform)
    if samples >= 0:
        moved[: moved.shape[-1] - samples] = waveform[samples:]
    else:
        moved[-samples:] = waveform[:samples]
    return moved

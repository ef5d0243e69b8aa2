"""Measure the delay between two waveforms, and remove it."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.signal.convolution import fft_length


def delay(
    *, estimate: Float[Tensor, " time"], reference: Float[Tensor, " time"], limit: int
) -> int | None:
    """Return by how many samples the estimate lags the reference: the peak of their cross-correlation.

    Args:
        estimate: may be late (positive result), early (negative), or inverted in sign.
        reference: same length.
        limit: largest delay to search, in samples.

    Returns:
        The delay, or None if one of the signals is silent.
    """
    length = fft_length(2 * estimate.shape[-1])
    spectra = [torch.fft.rfft(waveform.double(), length) for waveform in (estimate, reference)]
    # At lag d: sum of estimate[t + d] reference[t].
    correlation = torch.fft.irfft(spectra[0] * spectra[1].conj(), length)
    limit = min(limit, estimate.shape[-1] - 1)
    # The circular correlation has negative delays at its end; the magnitude also finds inverted signals.
    near = torch.cat([correlation[length - limit :], correlation[: limit + 1]]).abs()
    return int(near.argmax()) - limit if bool(near.max() > 0) else None


def undelay(waveform: Float[Tensor, " time"], samples: int) -> Float[Tensor, " time"]:
    """Shift the waveform earlier by `samples`; the length stays the same, gaps are filled with zeros."""
    moved = torch.zeros_like(waveform)
    if samples >= 0:
        moved[: moved.shape[-1] - samples] = waveform[samples:]
    else:
        moved[-samples:] = waveform[:samples]
    return moved

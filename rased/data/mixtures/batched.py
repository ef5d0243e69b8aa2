"""Mixing of many rows at once, for devices on which each call costs more than its arithmetic.

On a CPU, rows are mixed one by one, so that a mixture has the same bits in any batch; see `mixing`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from rased.signal.convolution import fft_length


def to_device(values: Sequence[int], like: Tensor) -> Int[Tensor, " values"]:
    """Copy integers from the host to the device of a tensor, without waiting for the device."""
    numbers = torch.tensor(values, dtype=torch.int64)
    if like.device.type == "cuda":
        numbers = numbers.pin_memory()
    # From pinned memory, the copy is queued behind the running kernels; otherwise the host would wait for
    # them.
    return numbers.to(like.device, non_blocking=True)


def shape(
    several: Float[Tensor, "several batch time"], filters: Float[Tensor, "several batch taps"]
) -> Float[Tensor, "several batch time"]:
    """Apply a filter to each waveform."""
    time = several.shape[-1]
    length = fft_length(time + filters.shape[-1])
    spectra = torch.fft.rfft(several, n=length) * torch.fft.rfft(filters, n=length)
    return torch.fft.irfft(spectra, n=length)[..., :time]


def aligned(
    rir: Float[Tensor, "rows *channel taps"], direct: Int[Tensor, " rows"], length: int
) -> Float[Tensor, "rows *channel {length}"]:
    """Place responses on a circular grid of `length` samples, with the direct path of each row at time 0."""
    padded = functional.pad(rir, (0, length - rir.shape[-1]))
    # Sample n of the result is sample n + direct of the response.
    place = (torch.arange(length, device=rir.device) + direct[:, None]) % length
    places = place if rir.ndim == 2 else place[:, None].expand_as(padded)
    return padded.gather(-1, places)


def speak(
    clean: Float[Tensor, "rows time"],
    rir: Float[Tensor, "rows taps"],
    direct: Int[Tensor, " rows"],
    ends: Sequence[int],
) -> Float[Tensor, "parts rows time"]:
    """Convolve speech with rooms, aligned to the direct paths, separately for parts of the responses.

    Args:
        clean: dry speech.
        rir: one response per row.
        direct: index of the direct path in each response.
        ends: samples after the direct path where a part ends.

    Returns:
        What arrives before each end, and last what arrives after the first end.
    """
    time, taps = clean.shape[-1], rir.shape[-1]
    length = fft_length(time + taps)
    # Circular convolution: samples before the direct path have negative times, at the end of the grid.
    turned = aligned(rir, direct, length)
    place = torch.arange(length, device=rir.device)
    before = place >= length - direct[:, None]
    # What arrives before the direct path belongs to every part that starts there.
    parts = [turned * (before | (place < end)) for end in ends]
    responses = torch.stack([*parts, turned - parts[0]])
    spectra = torch.fft.rfft(responses) * torch.fft.rfft(clean, n=length)
    return torch.fft.irfft(spectra, n=length)[..., :time]


def direct_amplitude(
    rir: Float[Tensor, "rows taps"], direct: Int[Tensor, " rows"], half: int
) -> Float[Tensor, " rows"]:
    """Return the signed amplitude of the direct paths: root of the energy within `half` samples, sign of the peak."""
    distance = torch.arange(rir.shape[-1], device=rir.device) - direct[:, None]
    energy = (rir.square() * (distance.abs() <= half)).sum(-1)
    return energy.sqrt() * rir.gather(1, direct[:, None])[:, 0].sign()

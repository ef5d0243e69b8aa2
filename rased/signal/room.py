"""Rooms as impulse responses: direct path, early and late parts, decay time, energy ratios, convolution."""

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

DIRECT_MS = 2.5
"""Half width of what counts as the direct path, as in the direct-to-reverberant ratio of the ACE challenge (2015)."""


def direct_path(
    rir: Float[Tensor, "*batch taps"], *, sample_rate: int = 16_000
) -> Int[Tensor, "*batch"]:
    """Index of the direct path: the highest sample within 1 ms of the onset.

    The onset is the first sample within 20 dB of the highest one (ISO 3382-1). A silent response
    gives 0.
    """
    magnitude = rir.abs()
    onset = (magnitude >= 0.1 * magnitude.amax(-1, keepdim=True)).int().argmax(-1)
    position = torch.arange(rir.shape[-1], device=rir.device)
    distance = position - onset[..., None]
    near = (distance >= 0) & (distance <= sample_rate // 1000)
    return (magnitude * near).argmax(-1)


def early_part(
    rir: Float[Tensor, " taps"], direct: int, *, early_ms: float, sample_rate: int = 16_000
) -> Float[Tensor, " taps"]:
    """The response up to `early_ms` milliseconds behind its direct path, zero from there on."""
    early = rir.clone()
    early[direct + round(early_ms * sample_rate / 1000) :] = 0
    return early


def align(rir: Float[Tensor, " taps"], direct: int, *, length: int) -> Float[Tensor, " {length}"]:
    """Place the direct path at index 0 of a circular buffer of `length` samples.

    What came before it wraps to the end. The product of the spectra of such a buffer and of a
    waveform with at most `length - taps` samples is the spectrum of the reverberant waveform,
    aligned with the dry one.
    """
    return torch.cat([rir[direct:], rir.new_zeros(length - rir.shape[-1]), rir[:direct]])


def fft_length(samples: int) -> int:
    """Smallest even length of at least `samples` whose only prime factors are 2, 3 and 5."""
    best = 1 << max(1, (samples - 1).bit_length())
    for fives in (1, 5, 25, 125):
        for threes in (1, 3, 9, 27):
            odd = fives * threes
            best = min(best, odd << max(1, (-(-samples // odd) - 1).bit_length()))
    return best


def spectrum(rir: Float[Tensor, " taps"], direct: int, length: int) -> Complex[Tensor, " freq"]:
    """Transfer function of the aligned response on an FFT grid of `length` samples."""
    return torch.fft.rfft(align(rir, direct, length=length))


def convolve(
    waveform: Float[Tensor, "*batch time"], rir: Float[Tensor, " taps"], direct: int
) -> Float[Tensor, "*batch time"]:
    """Speech as it sounds in a room: aligned to the direct path, as long as the dry waveform."""
    time = waveform.shape[-1]
    length = fft_length(time + rir.shape[-1])
    product = torch.fft.rfft(waveform, n=length) * spectrum(rir, direct, length)
    return torch.fft.irfft(product, n=length)[..., :time]


def direct_to_reverberant_ratio_db(
    rir: Float[Tensor, " taps"], *, sample_rate: int = 16_000
) -> float:
    """Energy within 2.5 ms of the direct path over the energy behind it, in dB; infinite without a tail."""
    direct = int(direct_path(rir, sample_rate=sample_rate))
    half = round(DIRECT_MS * sample_rate / 1000)
    energy = rir.double().square()
    tail = float(energy[direct + half :].sum())
    return (
        float("inf")
        if tail == 0
        else 10 * float(np.log10(float(energy[max(0, direct - half) : direct + half].sum()) / tail))
    )


def t60(rir: Float[Tensor, " taps"], *, sample_rate: int = 16_000) -> float:
    """Reverberation time in seconds: three times the time that the backward integral takes from -5 to -25 dB.

    Schroeder 1965 ("New method of measuring reverberation time", JASA 37), evaluated as T20 of ISO
    3382-1 by a straight line through the decay curve. nan where the response does not fall by 25
    dB.
    """
    tail = rir[int(direct_path(rir, sample_rate=sample_rate)) :].double().square()
    remaining = tail.flip(0).cumsum(0).flip(0)
    if float(remaining[0]) == 0:
        return float("nan")
    curve = 10 * (remaining / remaining[0]).clamp_min(1e-30).log10().numpy()
    below_5, below_25 = int(np.argmax(curve <= -5)), int(np.argmax(curve <= -25))
    if curve[-1] > -25 or below_25 - below_5 < 8:
        return float("nan")
    slope = np.polyfit(np.arange(below_5, below_25) / sample_rate, curve[below_5:below_25], 1)[0]
    return float(-60 / slope)

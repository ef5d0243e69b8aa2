"""Rooms as impulse responses: direct path, early and late parts, decay time, energy ratios, convolution."""

from functools import lru_cache

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


@lru_cache(maxsize=16)
def fft_length(samples: int) -> int:
    """Smallest even length of at least `samples` whose only prime factors are 2, 3 and 5."""
    best = 1 << max(1, (samples - 1).bit_length())
    for fives in (1, 5, 25, 125, 625):
        for threes in (1, 3, 9, 27):
            odd = fives * threes
            best = min(best, odd << max(1, (-(-samples // odd) - 1).bit_length()))
    return best


def transform(waveform: Float[Tensor, " time"], half: int) -> Complex[Tensor, " {half}"]:
    """Spectrum in which a product is a convolution of at most `2 * half` samples; `restore` takes it back.

    The second half of the (zero-padded) waveform is the imaginary part of the first, turned by a
    quarter circle along the way: the "right-angle" convolution of Nussbaumer, "Fast Fourier
    transform and convolution algorithms", Springer 1982. One complex transform of half the length does for a real one
    of the whole, and is several times faster than torch's own real transform of a single long row.
    """
    first, second = (
        torch.nn.functional.pad(part, (0, half - part.shape[-1]))
        for part in (waveform[:half], waveform[half:])
    )
    folded = torch.complex(first, second)
    return torch.fft.fft(folded.mul_(_turn(half, folded.dtype, folded.device)[0]))


def restore(spectrum: Complex[Tensor, " half"], *, out: Float[Tensor, " time"]) -> None:
    """Write the first samples of what `transform` made, or of a product of such spectra, to `out`."""
    half = spectrum.shape[-1]
    folded = torch.fft.ifft(spectrum)
    folded.mul_(_turn(half, folded.dtype, folded.device)[1])
    rest = max(0, out.shape[-1] - half)
    out[:half] = folded.real[: out.shape[-1]]
    out[half:] = folded.imag[:rest]


def response(rir: Float[Tensor, " taps"], direct: int, half: int) -> Complex[Tensor, " {half}"]:
    """Transfer function of a room on the grid of `transform`, its direct path at time 0.

    What comes before the direct path lies at negative times: at the end of the buffer, with the
    other sign, as `2 * half` samples are a turn by half a circle. Waveform and response need `2 *
    half` samples together.
    """
    gap = rir.new_zeros(2 * half - rir.shape[-1])
    return transform(torch.cat([rir[direct:], gap, -rir[:direct]]), half)


def convolve(
    waveform: Float[Tensor, " time"], rir: Float[Tensor, " taps"], direct: int
) -> Float[Tensor, " time"]:
    """Speech as it sounds in a room: aligned to the direct path, as long as the dry waveform."""
    half = half_length(waveform.shape[-1] + rir.shape[-1])
    reverberant = torch.empty_like(waveform)
    restore(transform(waveform, half) * response(rir, direct, half), out=reverberant)
    return reverberant


def half_length(samples: int) -> int:
    """The `half` that `transform` needs for convolutions of so many samples, quick to transform."""
    return fft_length(-(-samples // 2))


@lru_cache(maxsize=16)
def _turn(
    half: int, dtype: torch.dtype, device: torch.device
) -> tuple[Complex[Tensor, " {half}"], Complex[Tensor, " {half}"]]:
    """A quarter circle in `half` steps, and back."""
    angle = torch.arange(half, dtype=torch.float64) * (torch.pi / (2 * half))
    turn = torch.polar(torch.ones_like(angle), angle)
    return turn.to(device, dtype), turn.conj().resolve_conj().to(device, dtype)


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

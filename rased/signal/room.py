"""Properties of room impulse responses: direct path, early part, reverberation time, energy ratios."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

DIRECT_MS = 2.5
"""Half the width in milliseconds of the window around the peak that counts as the direct path.

As in Zahorik, "Direct-to-reverberant energy ratio sensitivity", JASA 112, 2002, and Bryan, "Impulse response data
augmentation and deep neural networks for blind room acoustic parameter estimation", ICASSP 2020. Others use 8 ms, which
gives ratios 2 to 4 dB higher: compare only ratios with the same window.
"""

BEFORE_MS = 5.0
"""Samples earlier than this many milliseconds before the direct path are measurement delay, not part of the room."""


def direct_path(
    rir: Float[Tensor, "*batch taps"], *, sample_rate: int = 16_000
) -> Int[Tensor, "*batch"]:
    """Return the index of the direct path: the largest sample within 1 ms of the onset.

    The onset is the first sample within 20 dB of the maximum (ISO 3382-1). A silent response
    gives 0.
    """
    magnitude = rir.abs()
    # 0.1: 20 dB; argmax gives the first True
    onset = (magnitude >= 0.1 * magnitude.amax(-1, keepdim=True)).int().argmax(-1)
    position = torch.arange(rir.shape[-1], device=rir.device)
    distance = position - onset[..., None]
    near = (distance >= 0) & (distance <= sample_rate // 1000)
    return (magnitude * near).argmax(-1)


def from_direct_path(
    rir: Float[Tensor, " taps"], *, sample_rate: int = 16_000
) -> tuple[Float[Tensor, " rest"], int]:
    """Cut the response 5 ms before its direct path; return it with the new index of the direct path."""
    direct = int(direct_path(rir, sample_rate=sample_rate))
    start = max(0, direct - round(BEFORE_MS * sample_rate / 1000))
    return rir[start:], direct - start


def early_part(
    rir: Float[Tensor, " taps"], direct: int, *, early_ms: float, sample_rate: int = 16_000
) -> Float[Tensor, " taps"]:
    """Return the response with zeros from `early_ms` milliseconds after its direct path."""
    early = rir.clone()
    early[direct + round(early_ms * sample_rate / 1000) :] = 0
    return early


def direct_to_reverberant_ratio_db(
    rir: Float[Tensor, " taps"], *, sample_rate: int = 16_000, direct_ms: float = DIRECT_MS
) -> float:
    """Return the energy within `direct_ms` of the direct path over the energy after it, in dB; infinite without a tail.

    Args:
        rir: impulse response.
        sample_rate: Hz.
        direct_ms: milliseconds on each side of the direct path; `drr_db` in corpora and test sets uses 2.5
            ms (see `DIRECT_MS`).
    """
    direct = int(direct_path(rir, sample_rate=sample_rate))
    half = round(direct_ms * sample_rate / 1000)
    energy = rir.double().square()
    tail = float(energy[direct + half :].sum())
    return (
        float("inf")
        if tail == 0
        else 10 * float(np.log10(float(energy[max(0, direct - half) : direct + half].sum()) / tail))
    )


def t60(rir: Float[Tensor, " taps"], *, sample_rate: int = 16_000) -> float:
    """Return the reverberation time in seconds: three times the decay time from -5 to -25 dB.

    The decay curve is the backward integral of Schroeder 1965 ("New method of measuring reverberation time", JASA 37).
    A straight line is fitted to it, as for T20 in ISO 3382-1. nan if the response does not decay by 25
    dB.
    """
    tail = rir[int(direct_path(rir, sample_rate=sample_rate)) :].double().square()
    # Schroeder integration: the energy from each sample to the end.
    remaining = tail.flip(0).cumsum(0).flip(0)
    if float(remaining[0]) == 0:
        return float("nan")
    curve = 10 * (remaining / remaining[0]).clamp_min(1e-30).log10().numpy()
    below_5, below_25 = int(np.argmax(curve <= -5)), int(np.argmax(curve <= -25))  # first True
    if curve[-1] > -25 or below_25 - below_5 < 8:  # too little decay, or too few samples for a line
        return float("nan")
    slope = np.polyfit(np.arange(below_5, below_25) / sample_rate, curve[below_5:below_25], 1)[0]
    return float(-60 / slope)

"""Phase of the output: projection to a consistent spectrum, and Griffin-Lim from a given phase."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.signal.domains import Bins, Spectrum
from rased.signal.stft import STFT


def project_consistent(spectrum: Spectrum, stft: STFT, length: int) -> Spectrum:
    """Return the closest spectrum that is the STFT of a waveform of this length.

    Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement",
    ICASSP 2019, arXiv:1811.08521. The waveform stays the same; a loss on the projected
    spectrum sees the spectrum of the actual output.
    """
    return stft.analysis(stft.synthesis(spectrum, length))


def inconsistency(spectrum: Spectrum, stft: STFT, length: int) -> Float[Tensor, " batch"]:
    """Return the energy that the projection removes: sum |X - P(X)|^2 of each item."""
    return (spectrum - project_consistent(spectrum, stft, length)).abs().square().sum((1, 2))


def unit_phase(spectrum: Spectrum) -> Spectrum:
    """Return X / |X|, and X itself where it is below 1e-15, so that silence stays silent and every gradient finite."""
    magnitude = spectrum.abs()
    return spectrum / torch.where(magnitude > _NOTHING, magnitude, 1.0)


def griffin_lim(
    magnitude: Bins, phase_of: Spectrum, stft: STFT, length: int, iterations: int
) -> Spectrum:
    """Keep the magnitude, and iterate the phase towards consistency, starting with the phase of another spectrum.

    Griffin and Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP
    32(2), 1984, doi:10.1109/TASSP.1984.1164317; starting with the noisy phase as in Han et al. 2015. The
    distance between the given magnitude and that of the resulting waveform never increases.
    """
    estimate = magnitude * unit_phase(phase_of)
    for _ in range(iterations):
        estimate = magnitude * unit_phase(project_consistent(estimate, stft, length))
    return estimate


_NOTHING = 1e-15
"""Magnitude (-300 dB) that has no phase; the square of smaller ones vanishes in float32."""

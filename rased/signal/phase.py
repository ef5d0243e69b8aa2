"""Whose phase an output gets: the nearest consistent spectrum, Griffin-Lim from a given phase."""

import torch
from jaxtyping import Float
from torch import Tensor

from rased.signal.domains import Bins, Spectrum
from rased.signal.stft import STFT


def project_consistent(spectrum: Spectrum, stft: STFT, length: int) -> Spectrum:
    """The nearest spectrum that some waveform of this length has: the one of its own waveform.

    Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement",
    ICASSP 2019, arXiv:1811.08521. The waveform itself stays the same; a loss on the projected
    spectrum sees what will be heard.
    """
    return stft.analysis(stft.synthesis(spectrum, length))


def inconsistency(spectrum: Spectrum, stft: STFT, length: int) -> Float[Tensor, " batch"]:
    """Energy of what the projection removes: sum |X - P(X)|^2 of each item."""
    return (spectrum - project_consistent(spectrum, stft, length)).abs().square().sum((1, 2))


def unit_phase(spectrum: Spectrum) -> Spectrum:
    """X / |X|; zero where X is zero, so that silence stays silence."""
    magnitude = spectrum.abs()
    return spectrum / torch.where(magnitude > 0, magnitude, 1.0)


def griffin_lim(
    magnitude: Bins, phase_of: Spectrum, stft: STFT, length: int, iterations: int
) -> Spectrum:
    """Keep the magnitude, iterate the phase towards consistency from the phase of another spectrum.

    Griffin and Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP
    32(2), 1984, doi:10.1109/TASSP.1984.1164317; from the noisy phase as in Han et al. 2015. The
    distance between the magnitude asked for and that of the waveform got never grows from one
    iteration to the next.
    """
    estimate = magnitude * unit_phase(phase_of)
    for _ in range(iterations):
        estimate = magnitude * unit_phase(project_consistent(estimate, stft, length))
    return estimate

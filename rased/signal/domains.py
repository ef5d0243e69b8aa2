"""What a signal is: its shape in each domain, by name, and where an estimate may be compared with its target."""

from typing import Literal

from jaxtyping import Complex, Float
from torch import Tensor

Waveform = Float[Tensor, "batch time"]
"""Samples in [-1, 1]."""
Spectrum = Complex[Tensor, "batch freq frames"]
"""What `STFT.analysis` gives."""
Bins = Float[Tensor, "batch freq frames"]
"""A real number for each bin of a spectrum: a magnitude, a power, a mask."""
Features = Float[Tensor, "batch feature frames"]
"""What a network sees of a spectrum, or puts out for it."""

Domain = Literal["waveform", "spectrum", "output"]
"""The waveform; the complex spectrum; what a network itself puts out."""

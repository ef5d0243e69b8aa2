"""Types of a signal in each domain, and the domains in which losses compare estimate and target."""

from typing import Literal

from jaxtyping import Complex, Float
from torch import Tensor

Samples = Float[Tensor, " time"]
"""One waveform, of any level."""
Waveform = Float[Tensor, "batch time"]
"""Samples in [-1, 1]."""
Spectrum = Complex[Tensor, "batch freq frames"]
"""Complex spectrum, as returned by `STFT.analysis`."""
Bins = Float[Tensor, "batch freq frames"]
"""A real number for each bin of a spectrum: a magnitude, a power, a mask."""
Features = Float[Tensor, "batch feature frames"]
"""Inputs or outputs of a network, frame by frame."""

Domain = Literal["waveform", "spectrum", "output"]
"""Waveform, complex spectrum, or output of the network itself."""

"""Where an estimate may be compared with its target."""

from typing import Literal

Domain = Literal["waveform", "spectrum", "output"]
"""The waveform (batch, time); the complex spectrum (batch, freq, frames); what a network itself puts out."""

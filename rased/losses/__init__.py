"""Losses: keyword-only estimate and target in, a scalar to be minimised out."""

from typing import Any

from rased.exports import Homes, fetch, names_of

_HOMES: Homes = {
    "base": (
        "Loss",
        "OnWaveforms",
        "WeightedSum",
    ),
    "mask": (
        "OutputMSE",
        "PhaseSensitiveApproximation",
    ),
    "spectral": (
        "ComplexMSE",
        "CompressedSpectrum",
        "LogMagnitude",
        "LogPower",
        "Magnitude",
        "MultiResolutionSTFT",
        "OnSTFT",
        "SpectralLoss",
    ),
    "waveform": (
        "L1",
        "SISDR",
        "SNR",
    ),
}
__all__ = names_of(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    return fetch(__name__, name, _HOMES)


def __dir__() -> list[str]:
    """What there is."""
    return names_of(_HOMES)

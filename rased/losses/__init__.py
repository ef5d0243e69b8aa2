"""Losses: take estimate and target as keyword arguments, return a scalar to minimise."""

from rased.exports import Homes, lazily

_HOMES: Homes = {
    "adversarial": (
        "Criterion",
        "Hinge",
        "LeastSquares",
        "MetricRegression",
    ),
    "base": (
        "Loss",
        "OnWaveforms",
        "WeightedSum",
    ),
    "feature": ("FeatureDistance",),
    "intelligibility": (
        "ESTOI",
        "STOI",
    ),
    "mask": (
        "OutputMSE",
        "PhaseSensitiveApproximation",
    ),
    "phase": (
        "AntiWrapping",
        "Consistency",
    ),
    "quality": ("PMSQE",),
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
__all__, __getattr__, __dir__ = lazily(__name__, _HOMES)

"""Pure functions of tensors: transforms, features, masks, phase, levels, ratios, rooms."""

from typing import Any

from rased.exports import Homes, fetch, names_of

_HOMES: Homes = {
    "stft": ("STFT",),
    "state": (
        "joined",
        "numbered",
        "parted",
    ),
    "features": (
        "band_power",
        "complex_parts",
        "compressed_magnitude",
        "exponential_average",
        "filterbank",
        "first_frames_mean",
        "from_complex_parts",
        "hertz_to_scale",
        "log_erb_power",
        "log_mel_power",
        "log_power",
        "magnitude",
        "mfcc",
        "power",
        "power_law",
        "rising_minimum",
        "running_cmvn",
        "running_maximum",
        "running_mean",
        "running_unit",
        "scale_to_hertz",
        "splice",
        "standardise",
        "unstandardise",
        "utterance_cmvn",
    ),
    "masks": (
        "amplitude_mask",
        "apply_mask",
        "binary_mask",
        "complex_mask",
        "compress_mask",
        "phase_sensitive_mask",
        "ratio_mask",
    ),
    "phase": (
        "griffin_lim",
        "inconsistency",
        "project_consistent",
        "unit_phase",
    ),
    "levels": (
        "active_rms",
        "amplitude",
        "dbfs",
        "gain_for_snr",
        "rms",
    ),
    "ratios": (
        "si_sdr",
        "snr",
    ),
    "room": (
        "direct_path",
        "direct_to_reverberant_ratio_db",
        "early_part",
        "from_direct_path",
        "t60",
    ),
    "convolution": (
        "by_parts",
        "convolve",
        "fft_length",
        "grid_length",
        "response",
        "restore",
        "transform",
    ),
    "alignment": (
        "delay",
        "undelay",
    ),
}
__all__ = names_of(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    return fetch(__name__, name, _HOMES)


def __dir__() -> list[str]:
    """What there is."""
    return names_of(_HOMES)

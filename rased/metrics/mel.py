"""The mel spectrogram of librosa, for networks that were trained on it (ours: `rased.signal.features`)."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_BREAK = _BREAK_HZ / _LINEAR_HZ
# Slaney: 27 steps from 1 to 6.4 kHz.
_LOG_STEP = np.log(6.4) / 27


def mel_power(
    waveform: Float[np.ndarray, " time"],
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    bands: int,
) -> Float[np.ndarray, "frames band"]:
    """Return the power in bands of Slaney's mel scale, each of unit area: `librosa.feature.melspectrogram`, transposed.

    Periodic Hann windows of n_fft samples, centred, with zeros outside the signal;
    frames = 1 + (time + 2 * (n_fft // 2) - n_fft) // hop_length.
    """
    padded = np.pad(waveform.astype(np.float64), n_fft // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop_length]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return power @ _slaney_bands(sample_rate, n_fft, bands).T


@lru_cache
def _slaney_bands(sample_rate: int, n_fft: int, bands: int) -> Float[np.ndarray, "band freq"]:
    """Return triangles of unit area, linear below 1 kHz and logarithmic above (Slaney's Auditory Toolbox, 1998)."""
    highest = _BREAK + np.log(sample_rate / 2 / _BREAK_HZ) / _LOG_STEP
    mel = np.linspace(0.0, highest, bands + 2)
    corner = np.where(
        mel < _BREAK, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK))
    )
    hertz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    left, centre, right = (edge[:, None] for edge in (corner[:-2], corner[1:-1], corner[2:]))
    rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
    return np.clip(np.minimum(rising, falling), 0.0, None) * 2 / (right - left)

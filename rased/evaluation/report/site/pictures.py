"""Draw spectrograms as small PNG files."""

from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float

from rased import audio
from rased.signal.stft import STFT

RANGE_DB = 70.0
SAMPLE_RATE = 16_000
"""Sample rate of the drawn audio: pictures end at half of it."""

_SPECTROGRAM = STFT(n_fft=512, hop_length=128, win_length=512, window="hann")


def level_db(path: Path) -> Float[np.ndarray, "freq frames"]:
    """Return the power of the first channel in dB."""
    samples, _ = audio.read(path, sample_rate=SAMPLE_RATE)
    power = _SPECTROGRAM.analysis(torch.from_numpy(samples[:1]))[0].abs().square()
    return (10 * power.clamp_min(1e-10).log10()).numpy()


def draw(level: Float[np.ndarray, "freq frames"], path: Path) -> None:
    """Draw a picture with low frequencies at the bottom, from -RANGE_DB to 0 dB."""
    from matplotlib import colormaps
    from PIL import Image

    colours = (colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    # Rows of a picture run downwards, so that the frequencies are reversed.
    indices = np.clip((1 + level[::-1] / RANGE_DB) * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(indices)
    # A palette keeps one byte per pixel.
    picture.putpalette(rearrange(colours, "colour rgb -> (colour rgb)").tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)

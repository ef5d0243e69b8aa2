"""Spectrograms as small PNG files, without a library for pictures."""

import struct
import zlib

import numpy as np
from jaxtyping import Float

from rased.signal.domains import Samples
from rased.signal.stft import STFT

RANGE_DB = 70.0
"""Range of the colours: from -RANGE_DB, the darkest, to 0 dB."""
_WINDOW_SECONDS, _HOP_SECONDS = 0.032, 0.008
_COLOURS = bytes.fromhex(
    "00000401000501010601010802010902020b02020d03030f03031204041405041606051806051a07061c08071e"
    "0907200a08220b09240c09260d0a290e0b2b100b2d110c2f120d31130d34140e36150e38160f3b180f3d19103f"
    "1a10421c10441d11471e114920114b21114e22115024125325125527125829115a2a115c2c115f2d11612f1163"
    "31116533106734106936106b38106c390f6e3b0f703d0f713f0f72400f74420f75440f76451077471078491078"
    "4a10794c117a4e117b4f127b51127c52137c54137d56147d57157e59157e5a167e5c167f5d177f5f187f601880"
    "621980641a80651a80671b80681c816a1c816b1d816d1d816e1e81701f81721f81732081752181762181782281"
    "7922827b23827c23827e24828025828125818326818426818627818827818928818b29818c29818e2a81902a81"
    "912b81932b80942c80962c80982d80992d809b2e7f9c2e7f9e2f7fa02f7fa1307ea3307ea5317ea6317da8327d"
    "aa337dab337cad347cae347bb0357bb2357bb3367ab5367ab73779b83779ba3878bc3978bd3977bf3a77c03a76"
    "c23b75c43c75c53c74c73d73c83e73ca3e72cc3f71cd4071cf4070d0416fd2426fd3436ed5446dd6456cd8456c"
    "d9466bdb476adc4869de4968df4a68e04c67e24d66e34e65e44f64e55064e75263e85362e95462ea5661eb5760"
    "ec5860ed5a5fee5b5eef5d5ef05f5ef1605df2625df2645cf3655cf4675cf4695cf56b5cf66c5cf66e5cf7705c"
    "f7725cf8745cf8765cf9785df9795df97b5dfa7d5efa7f5efa815ffb835ffb8560fb8761fc8961fc8a62fc8c63"
    "fc8e64fc9065fd9266fd9467fd9668fd9869fd9a6afd9b6bfe9d6cfe9f6dfea16efea36ffea571fea772fea973"
    "feaa74feac76feae77feb078feb27afeb47bfeb67cfeb77efeb97ffebb81febd82febf84fec185fec287fec488"
    "fec68afec88cfeca8dfecc8ffecd90fecf92fed194fed395fed597fed799fed89afdda9cfddc9efddea0fde0a1"
    "fde2a3fde3a5fde5a7fde7a9fde9aafdebacfcecaefceeb0fcf0b2fcf2b4fcf4b6fcf6b8fcf7b9fcf9bbfcfbbd"
    "fcfdbf"
)
"""Red, green and blue of 256 colours: matplotlib's "magma" (CC0), dark for low levels."""


def level_db(samples: Samples, sample_rate: int) -> Float[np.ndarray, "freq frames"]:
    """Return the power in windows of 32 ms every 8 ms in dB, up to half the sample rate; at least -100 dB."""
    n_fft = 2 * round(_WINDOW_SECONDS * sample_rate / 2)
    hop = round(_HOP_SECONDS * sample_rate)
    stft = STFT(n_fft=n_fft, hop_length=hop, win_length=n_fft, window="hann")
    power = stft.analysis(samples[None])[0].abs().square()
    return (10 * power.clamp_min(1e-10).log10()).numpy()


def narrowed(
    level: Float[np.ndarray, "freq frames"], columns: int
) -> Float[np.ndarray, "freq columns"]:
    """Return at most `columns` frames: the largest level of each group of neighbours."""
    frames = level.shape[1]
    if frames <= columns:
        return level
    starts = np.arange(columns) * frames // columns
    return np.maximum.reduceat(level, starts, axis=1)


def png(level: Float[np.ndarray, "freq frames"]) -> bytes:
    """Return a picture with low frequencies at the bottom, from -RANGE_DB to 0 dB."""
    # Rows of a picture run downwards, so that the frequencies are reversed.
    indices = np.clip((1 + level[::-1] / RANGE_DB) * 255, 0, 255).astype(np.uint8)
    height, width = indices.shape
    # 8 bits a pixel, colours from a palette; each row begins with the number of its filter, here none.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": _COLOURS,
        b"IDAT": zlib.compress(rows.tobytes(), 9),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts.items())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

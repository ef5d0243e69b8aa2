"""Encode 16-bit samples in the format of a shard."""

import io
from collections.abc import Iterable

import numpy as np
import soundfile
from numpy.typing import NDArray

from rased.audio import CHANNELS
from rased.data.schemas import Codec
from rased.data.shards import opus

MOST_CHANNELS: dict[Codec, int] = {"flac": 8, "pcm16": CHANNELS, "opus": 1}
"""Maximum number of channels of a sample, by codec."""


def encode(
    samples: NDArray[np.int16], codec: Codec, sample_rate: int, kbits: float = opus.USUAL
) -> bytes:
    """Return samples, (time,) or (time, channel), in the format of a shard.

    It is a FLAC file, raw little-endian 16-bit samples, or Opus in Ogg.

    FLAC uses the level that decodes fastest: in a fifth less time than the highest level, with 2 to 6 % more bytes.
    """
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return encode_blocks([samples], codec, sample_rate, kbits, channels=channels)


def encode_blocks(
    blocks: Iterable[NDArray[np.int16]],
    codec: Codec,
    sample_rate: int,
    kbits: float = opus.USUAL,
    *,
    channels: int = 1,
) -> bytes:
    """Encode like `encode`, from blocks of samples."""
    data = io.BytesIO()
    if codec == "pcm16":
        for samples in blocks:
            data.write(samples.astype("<i2").tobytes())
        return data.getvalue()
    if codec == "opus":
        return opus.encode(blocks, sample_rate, kbits)
    with soundfile.SoundFile(
        data, "w", sample_rate, channels, "PCM_16", format="FLAC", compression_level=0.0
    ) as file:
        for samples in blocks:
            file.write(samples)
    return data.getvalue()

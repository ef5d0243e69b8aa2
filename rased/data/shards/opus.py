"""Opus in Ogg files, for small shards: a tenth of the size, but lossy.

Encoding and decoding by libsndfile. It gives Ogg streams random serial numbers, so equal samples would have different
bytes; the serial number is set to 0 here.
"""

import io
from collections.abc import Iterable

import numpy as np
import soundfile
from numpy.typing import NDArray

from rased.audio.ogg import serial_zero
from rased.errors import RasedError

RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Sample rates of Opus in Hz."""
KBITS = (6.0, 256.0)
"""Range of the bit rate in kbit/s."""
USUAL = 32.0
"""Default bit rate in kbit/s."""


def check(sample_rate: int, kbits: float) -> None:
    """Reject unsupported settings.

    Raises:
        RasedError: an unsupported sample rate, or a bit rate out of range.
    """
    if sample_rate not in RATES:
        raise RasedError(
            f"Opus supports {', '.join(map(str, RATES))} Hz, not {sample_rate}: choose one of them, or flac."
        )
    if not KBITS[0] <= kbits <= KBITS[1]:
        raise RasedError(
            f"Opus supports {KBITS[0]:g} to {KBITS[1]:g} kbit/s, not {kbits:g}; usual for speech at 16 kHz: 32."
        )


def encode(blocks: Iterable[NDArray[np.int16]], sample_rate: int, kbits: float) -> bytes:
    """Encode blocks of samples with about `kbits` kbit/s (variable bit rate)."""
    low, high = KBITS
    data = io.BytesIO()
    with soundfile.SoundFile(
        data,
        "w",
        sample_rate,
        1,
        "OPUS",
        format="OGG",
        # libsndfile maps 0 to 256 kbit/s and 1 to 6 kbit/s.
        compression_level=(high - kbits) / (high - low),
    ) as file:
        for samples in blocks:
            file.write(samples)
    return serial_zero(data.getvalue())


def decode(data: bytes, start: int, frames: int) -> NDArray[np.float32]:
    """Return the samples [start, start + frames), rounded to 16 bits; fewer at the end of the recording.

    Decodes from the beginning, because the output after a seek depends on the position of the seek.

    Raises:
        soundfile.LibsndfileError: the bytes cannot be decoded.
    """
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        audio: NDArray[np.float32] = file.read(start + frames, dtype="float32")[start:]
    # Multiples of 2^-15, which the cache of decoded recordings can hold.
    return np.rint(audio * np.float32(32768)).clip(-32768, 32767) * np.float32(2**-15)

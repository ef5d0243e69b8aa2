"""Opus in an Ogg file, for shards that must be small: a tenth of the size, and no longer the same samples.

libsndfile codes. Its Ogg streams get a serial number by chance, so equal samples would give unequal bytes: each gets
the number 0 here.
"""

import io
from collections.abc import Iterable

import numpy as np
import soundfile
from numpy.typing import NDArray

from rased.audio.ogg import serial_zero
from rased.errors import RasedError

RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Sample rates that Opus knows, in Hz."""
KBITS = (6.0, 256.0)
"""Range of the rate of bits, in kbit/s."""
USUAL = 32.0
"""Kbit/s where nothing else is said."""


def check(sample_rate: int, kbits: float) -> None:
    """Refuse what the codec cannot do.

    Raises:
        RasedError: another sample rate, or a rate of bits out of range.
    """
    if sample_rate not in RATES:
        raise RasedError(
            f"Opus takes {', '.join(map(str, RATES))} Hz, not {sample_rate}: choose one of them, or flac."
        )
    if not KBITS[0] <= kbits <= KBITS[1]:
        raise RasedError(
            f"Opus takes {KBITS[0]:g} to {KBITS[1]:g} kbit/s, not {kbits:g}; usual for speech of 16 kHz: 32."
        )


def encode(blocks: Iterable[NDArray[np.int16]], sample_rate: int, kbits: float) -> bytes:
    """Code samples that come some at a time, with about `kbits` kbit/s (variable)."""
    low, high = KBITS
    data = io.BytesIO()
    with soundfile.SoundFile(
        data,
        "w",
        sample_rate,
        1,
        "OPUS",
        format="OGG",
        compression_level=(high - kbits) / (high - low),
    ) as file:
        for samples in blocks:
            file.write(samples)
    return serial_zero(data.getvalue())


def decode(data: bytes, start: int, frames: int) -> NDArray[np.float32]:
    """Samples [start, start + frames), rounded to 16 bits; fewer where they end before.

    From the beginning on, for what a decoder gives behind a jump depends on the jump.

    Raises:
        soundfile.LibsndfileError: the bytes do not decode.
    """
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        audio: NDArray[np.float32] = file.read(start + frames, dtype="float32")[start:]
    return np.rint(audio * np.float32(32768)).clip(-32768, 32767) * np.float32(2**-15)

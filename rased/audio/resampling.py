"""Resample whole signals, and streams of blocks, with soxr."""

from typing import Literal

import numpy as np
import soxr
from einops import rearrange
from jaxtyping import Float, Float32


def resampled_length(length: int, source: int, wanted: int) -> int:
    """Return the number of samples at rate `wanted` that cover `length` samples at rate `source`, rounded up.

    >>> resampled_length(44100, 44100, 16000), resampled_length(1, 192000, 16000)
    (16000, 1)
    """
    return -(-length * wanted // source)


def resample(
    audio: Float[np.ndarray, "channel time"], source: int, wanted: int
) -> Float32[np.ndarray, "channel resampled"]:
    """Resample with soxr (HQ, linear phase, no delay).

    resampled = resampled_length(time, source, wanted).
    """
    resampler = Resampler(source, wanted, audio.shape[0])
    start = resampler.push(audio.astype(np.float32, copy=False))
    return np.concatenate([start, resampler.finish()], axis=1)


class Resampler:
    """Resamples a stream of blocks; the concatenated output equals that of `resample`.

    Args:
        source: input rate in Hz.
        wanted: output rate in Hz.
        channels: number of channels.
        quality: quality setting of soxr.
    """

    def __init__(
        self, source: int, wanted: int, channels: int, *, quality: Literal["HQ", "VHQ"] = "HQ"
    ) -> None:
        self.source, self.wanted, self.channels = source, wanted, channels
        self._consumed = 0
        self._produced = 0
        self._stream: soxr.ResampleStream | None = None
        if source != wanted:
            self._stream = soxr.ResampleStream(
                source, wanted, channels, dtype="float32", quality=quality
            )

    def push(
        self, block: Float32[np.ndarray, "channel time"]
    ) -> Float32[np.ndarray, "channel resampled"]:
        """Take the next samples; return those that are ready."""
        self._consumed += block.shape[1]
        return self._through(block, last=False)

    def finish(self, length: int | None = None) -> Float32[np.ndarray, "channel resampled"]:
        """Return the rest, so that `length` samples are returned in total (see `resampled_length`)."""
        if length is None:
            length = resampled_length(self._consumed, self.source, self.wanted)
        # The last output needs input up to its own time; one more sample for the rounding.
        needed = resampled_length(length, self.wanted, self.source) + 1
        silence = np.zeros((self.channels, max(0, needed - self._consumed)), dtype=np.float32)
        start = self._produced
        return self._through(silence, last=True)[:, : max(0, length - start)]

    def _through(
        self, block: Float32[np.ndarray, "channel time"], *, last: bool
    ) -> Float32[np.ndarray, "channel resampled"]:
        if self._stream is not None:
            # soxr takes interleaved samples.
            columns = np.ascontiguousarray(rearrange(block, "channel time -> time channel"))
            ready = self._stream.resample_chunk(columns, last=last)
            block = rearrange(ready.reshape(-1, self.channels), "time channel -> channel time")
        self._produced += block.shape[1]
        return block

"""Decoding by libsndfile: parts of a file that follow each other, read as one, without seeking."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile
from jaxtyping import Float32

from rased.audio.problems import DamagedError
from rased.audio.views import ByteSource, Piece, View

_UNKNOWN_LENGTH = 1 << 61


@runtime_checkable
class Decoder(Protocol):
    """An open stream of audio.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel; None where nobody knows.
        format: of the container, as libsndfile calls it.
        subtype: of the coding, as libsndfile calls it.
    """

    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str

    def read(self, count: int) -> Float32[np.ndarray, "time channel"]:
        """Return the next samples: `count`, or fewer, and none at the end.

        Raises:
            DamagedError: what follows cannot be decoded.
        """

    def close(self) -> None:
        """Give back what is held."""


@dataclass(frozen=True)
class Part:
    """A stretch of a file that libsndfile reads as a file of its own.

    Attributes:
        pieces: what it sees; None for the file as it is.
        frames: samples per channel, where they are known better than libsndfile does.
        skip: samples to drop at the beginning.
    """

    pieces: Sequence[Piece] | None = None
    frames: int | None = None
    skip: int = 0


class UndecodableError(Exception):
    """libsndfile cannot open it; its own words."""


class SoundfileDecoder:
    """The parts of a file, one after another; they must agree in rate and channels.

    Raises:
        UndecodableError: libsndfile does not know the first part.
        DamagedError: another part cannot be read or does not go with the first.
    """

    def __init__(self, source: ByteSource, parts: Sequence[Part]) -> None:
        self._source, self._parts = source, list(parts)
        self._next = 0
        self._sound: _Sound | None = None
        self._lengths = [self._open(number) for number in range(len(self._parts))]
        known = [length for length in self._lengths if length is not None]
        self.frames = sum(known) if len(known) == len(self._lengths) else None
        self._begin(0)

    def read(self, count: int) -> Float32[np.ndarray, "time channel"]:
        """See `Decoder`."""
        while self._sound is not None:
            block = self._read(count)
            if len(block):
                return block
            self._begin(self._next)
        return np.zeros((0, self.channels), np.float32)

    def close(self) -> None:
        """Close what is open."""
        if self._sound is not None:
            self._sound.close()
            self._sound = None

    def _open(self, number: int) -> int | None:
        """Open a part to see what it is; return its length."""
        try:
            sound = self._sounding(self._parts[number])
        except UndecodableError as error:
            if number == 0:
                raise
            raise DamagedError(
                f"is damaged: its stream {number + 1} of {len(self._parts)} cannot be read ({error})"
            ) from None
        with sound:
            if number == 0:
                self.sample_rate, self.channels = sound.samplerate, sound.channels
                self.format, self.subtype = sound.format, sound.subtype
            elif (sound.samplerate, sound.channels) != (self.sample_rate, self.channels):
                raise DamagedError(
                    f"holds streams of {self.sample_rate} Hz with {self.channels} channels and of {sound.samplerate} "
                    f"Hz with {sound.channels} one after another: split it, or convert it with ffmpeg first"
                )
            frames = self._parts[number].frames
            if frames is None and 0 <= sound.frames < _UNKNOWN_LENGTH:
                frames = sound.frames
        return frames

    def _begin(self, number: int) -> None:
        self.close()
        if number < len(self._parts):
            self._sound = self._sounding(self._parts[number])
            self._skip(self._parts[number].skip)
        self._next = number + 1
        self._done = 0

    def _skip(self, count: int) -> None:
        assert self._sound is not None
        while count and (dropped := len(self._decode(count))):
            count -= dropped

    def _read(self, count: int) -> Float32[np.ndarray, "time channel"]:
        length = self._lengths[self._next - 1]
        block = self._decode(count)
        if length is not None:
            block = block[: length - self._done]
        self._done += len(block)
        if not len(block) and length is not None and self._done < length:
            raise DamagedError(
                f"is cut short or damaged: {self._done} of {length} samples can be read; get the whole file again"
            )
        return block

    def _decode(self, count: int) -> Float32[np.ndarray, "time channel"]:
        assert self._sound is not None
        try:
            return self._sound.read(count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise DamagedError(
                f"is cut short or damaged: after {self._done / self.sample_rate:.3f} s it cannot be decoded "
                f"({_words(error)}); get the whole file again"
            ) from None

    def _sounding(self, part: Part) -> "_Sound":
        pieces = [range(self._source.size)] if part.pieces is None else part.pieces
        try:
            return _Sound(View(self._source, pieces))
        except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
            raise UndecodableError(_words(error)) from None


class _Sound(soundfile.SoundFile):
    """Never sought: soundfile seeks after each read, which files of unknown length and lossy codecs do not survive."""

    def seekable(self) -> bool:
        return False

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _words(error: Exception) -> str:
    """Return libsndfile's own words without the name of what was opened."""
    text = str(getattr(error, "error_string", error)).removeprefix("Error :").strip().rstrip(".")
    return text[:1].lower() + text[1:]

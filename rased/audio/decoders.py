"""Decode with libsndfile: parts of a file are read one after the other, without seeking."""

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
    """An open audio stream.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel; None if unknown.
        format: libsndfile's name of the container.
        subtype: libsndfile's name of the coding.
    """

    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str

    def read(self, count: int) -> Float32[np.ndarray, "time channel"]:
        """Return the next samples: `count`, or fewer, and none at the end.

        Raises:
            DamagedError: the next samples cannot be decoded.
        """

    def close(self) -> None:
        """Release all resources."""


@dataclass(frozen=True)
class Part:
    """A part of a file that libsndfile reads as a separate file.

    Attributes:
        pieces: the bytes that libsndfile gets; None for the unchanged file.
        frames: samples per channel, if they are known more accurately than by libsndfile.
        skip: samples to drop at the beginning.
    """

    pieces: Sequence[Piece] | None = None
    frames: int | None = None
    skip: int = 0


class UndecodableError(Exception):
    """libsndfile cannot open the file; the message is libsndfile's."""


class SoundfileDecoder:
    """Reads the parts of a file one after the other; they must have the same rate and channels.

    Raises:
        UndecodableError: libsndfile does not support the first part.
        DamagedError: a later part cannot be read, or has another rate or number of channels.
    """

    def __init__(self, source: ByteSource, parts: Sequence[Part]) -> None:
        self._source, self._parts = source, list(parts)
        self._next = 0
        self._sound: _Sound | None = None
        # All parts are checked at once, so that a bad one is found before the first samples are used.
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
        """Close all open parts."""
        if self._sound is not None:
            self._sound.close()
            self._sound = None

    def _open(self, number: int) -> int | None:
        """Open a part to read its properties; return its length."""
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
            # libsndfile states a huge length for a stream whose length it does not know.
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
        # Of the part that is open.
        length = self._lengths[self._next - 1]
        block = self._decode(count)
        if length is not None:
            # A decoder may add padding of the last frame.
            block = block[: length - self._done]
        self._done += len(block)
        if not len(block) and length is not None and self._done < length:
            raise DamagedError(
                f"is truncated or damaged: {self._done} of {length} samples can be read; get the whole file again"
            )
        return block

    def _decode(self, count: int) -> Float32[np.ndarray, "time channel"]:
        assert self._sound is not None
        try:
            return self._sound.read(count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise DamagedError(
                f"is truncated or damaged: after {self._done / self.sample_rate:.3f} s it cannot be decoded "
                f"({_words(error)}); get the whole file again"
            ) from None

    def _sounding(self, part: Part) -> "_Sound":
        pieces = [range(self._source.size)] if part.pieces is None else part.pieces
        try:
            return _Sound(View(self._source, pieces))
        except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
            raise UndecodableError(_words(error)) from None


class _Sound(soundfile.SoundFile):
    """A SoundFile that never seeks: soundfile seeks after each read, which breaks lossy codecs and unknown lengths."""

    def seekable(self) -> bool:
        return False

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _words(error: Exception) -> str:
    """Return libsndfile's message without the name of the file."""
    text = str(getattr(error, "error_string", error)).removeprefix("Error :").strip().rstrip(".")
    return text[:1].lower() + text[1:]

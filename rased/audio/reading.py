"""Read audio files of any rate, number of channels and format, whole or block by block.

Arrays are float32 of shape (channel, time), with full scale 1. Every command reads files through this module, so all
agree on which files are complete, truncated or damaged. A bad file raises `BadAudioError` with one sentence.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import Float32

from rased.audio import ffmpeg
from rased.audio.chunks import Payload, find_payload, left_over, patched
from rased.audio.decoders import Decoder, Part, SoundfileDecoder, UndecodableError
from rased.audio.flac import announced_samples, ends_with_a_frame, streams
from rased.audio.mpeg import find_segments, looks_like_mpeg
from rased.audio.ogg import find_links
from rased.audio.problems import BadAudioError, DamagedError
from rased.audio.resampling import resample
from rased.audio.views import ByteSource
from rased.machine import READ

BLOCK_SECONDS = 4.0
RATES = (1_000, 768_000)
"""Allowed sample rates in Hz; other values indicate a damaged header."""
CHANNELS = 128
"""Maximum number of channels."""

_BLOCK_SAMPLES = 1 << 22
_HEAD = 4096


@dataclass(frozen=True)
class AudioInfo:
    """Properties of a file that are known before decoding.

    Attributes:
        path: the file.
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel; None if the header does not know (a FLAC written to a pipe).
        format: libsndfile's name of the container, such as "WAV"; "FFMPEG" for files read by ffmpeg.
        subtype: libsndfile's name of the coding, such as "PCM_16".
        note: a remark for the user on how the file was read, or "".
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str
    note: str = ""

    @property
    def seconds(self) -> float | None:
        """Return the length in seconds, or None if unknown."""
        return None if self.frames is None else self.frames / self.sample_rate


class Recording:
    """An open audio file that is read once, from beginning to end.

    Attributes:
        info: its properties.
    """

    def __init__(self, info: AudioInfo, decoder: Decoder) -> None:
        self.info = info
        self._decoder = decoder

    def blocks(
        self, seconds: float = BLOCK_SECONDS
    ) -> Iterator[Float32[np.ndarray, "channel time"]]:
        """Yield the rest of the file in blocks of `seconds` (the last one may be shorter), with constant memory.

        Raises:
            BadAudioError: no samples, NaN or infinite samples, or a damaged file.
        """
        # Many channels or a high rate: shorter blocks.
        rate, most = self.info.sample_rate, max(1, _BLOCK_SAMPLES // self.info.channels)
        length = max(1, min(round(seconds * rate), most))
        done = 0
        for block in self._full_blocks(length):
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                at = (done + int(np.argmin(finite))) / rate
                raise self._bad(
                    f"has NaN or infinite samples (the first at {at:.3f} s); repair the file, or remove it"
                )
            done += len(block)
            yield rearrange(block, "time channel -> channel time")
        if done == 0:
            raise self._bad("has no samples; remove the file")

    def _full_blocks(self, length: int) -> Iterator[Float32[np.ndarray, "time channel"]]:
        """Yield blocks of equal length, independent of the decoder's block size."""
        parts: list[np.ndarray] = []
        missing = length
        while len(part := self._decoded(missing)):
            parts.append(part)
            missing -= len(part)
            if missing == 0:
                yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                parts, missing = [], length
        if parts:
            yield np.concatenate(parts)

    def _decoded(self, count: int) -> Float32[np.ndarray, "time channel"]:
        try:
            return self._decoder.read(count)
        except DamagedError as error:
            raise self._bad(str(error)) from None

    def _bad(self, reason: str) -> BadAudioError:
        return BadAudioError(self.info.path, reason)


@contextmanager
def open_audio(path: str | Path) -> Iterator[Recording]:
    """Open a file, and check that it is complete, as far as possible without decoding.

    Raises:
        BadAudioError: no such file, a folder, empty, unreadable, not audio, or truncated.
    """
    path = Path(path)
    descriptor = _descriptor(path)
    try:
        source = ByteSource(descriptor)
        if source.size == 0:
            raise BadAudioError(path, "is empty (0 bytes); remove the file")
        try:
            decoder, note = _decoder(path, source)
        except DamagedError as error:
            raise BadAudioError(path, str(error)) from None
        try:
            yield Recording(_info(path, decoder, note), decoder)
        finally:
            decoder.close()
    finally:
        os.close(descriptor)


def inspect(path: str | Path) -> AudioInfo:
    """Return the properties of a file that are known before decoding.

    Raises:
        BadAudioError: see `open_audio`.
    """
    with open_audio(path) as recording:
        return recording.info


def blocks(
    path: str | Path, *, seconds: float = BLOCK_SECONDS
) -> Iterator[Float32[np.ndarray, "channel time"]]:
    """Yield a file in blocks of `seconds` (the last one may be shorter), with constant memory.

    Raises:
        BadAudioError: see `open_audio` and `Recording.blocks`.
    """
    with open_audio(path) as recording:
        yield from recording.blocks(seconds)


def read(
    path: str | Path, *, sample_rate: int | None = None
) -> tuple[Float32[np.ndarray, "channel time"], int]:
    """Read a whole file, and resample it to `sample_rate` if given; return audio and rate.

    Raises:
        BadAudioError: see `blocks`.
    """
    with open_audio(path) as recording:
        audio = np.concatenate(list(recording.blocks()), axis=1)
        wanted = sample_rate or recording.info.sample_rate
        return resample(audio, recording.info.sample_rate, wanted), wanted


def _descriptor(path: Path) -> int:
    """Open a regular file."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise BadAudioError(path, "is a folder, not an audio file")
        if not stat.S_ISREG(mode):
            raise BadAudioError(
                path, "is a pipe or device, not a file: write it to disk and give that file"
            )
        return os.open(path, READ)
    except BadAudioError:  # which is a ValueError
        raise
    except FileNotFoundError:
        raise BadAudioError(path, "does not exist") from None
    except PermissionError:
        raise BadAudioError(path, "cannot be read: permission denied") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadAudioError(path, f"cannot be read: {reason.lower()}") from None


def _decoder(path: Path, source: ByteSource) -> tuple[Decoder, str]:
    """Choose the decoder of a file and the bytes that it gets; return the decoder and a note."""
    head = source.read(0, _HEAD)
    try:
        parts, note = _parts(path, source, head)
        # libsndfile comes first, since it is always there; ffmpeg reads only what libsndfile cannot.
        decoder = SoundfileDecoder(source, parts)
        # libsndfile recognised MPEG audio that `looks_like_mpeg` did not.
        if decoder.format == "MP3" and parts == [Part()]:
            return _counted(source, decoder), note
        return decoder, note
    except UndecodableError as error:
        reason = str(error)
    kind = ffmpeg.kind_of(head)
    payload = find_payload(source, head) if kind is None else None
    if payload is not None and payload.foreign:
        kind = "WAV with a coding that libsndfile does not read"
    if kind is None:
        raise DamagedError(_unreadable(head, reason))
    if not ffmpeg.available():
        raise DamagedError(
            f"is {kind}, which rased reads through ffmpeg: install ffmpeg (`apt install ffmpeg`, "
            "`brew install ffmpeg`), or convert the file to WAV or FLAC"
        )
    return ffmpeg.FfmpegDecoder(path.absolute()), ""


def _counted(source: ByteSource, decoder: SoundfileDecoder) -> Decoder:
    """Count the frames of an MPEG stream that was not recognised by its first bytes: libsndfile only estimates them."""
    decoder.close()
    parts = _mpeg_parts(source, 0, source.size)
    if not parts:
        raise DamagedError(
            "is MPEG audio whose frames cannot be counted (free format, or damaged): convert it to WAV or FLAC"
        )
    return SoundfileDecoder(source, parts)


def _parts(path: Path, source: ByteSource, head: bytes) -> tuple[list[Part], str]:
    """Return the parts of a file for libsndfile, and a note.

    Raises:
        DamagedError: the file is truncated or damaged.
        UndecodableError: the file needs another decoder.
    """
    payload = find_payload(source, head)
    if payload is not None:
        return _payload_parts(source, payload)
    if head.startswith(b"OggS"):
        links = find_links(source)
        if not links or not all(link.plain for link in links):
            raise UndecodableError("a codec that libsndfile does not read")
        return [Part([range(link.start, link.stop)]) for link in links], ""
    if head.startswith(b"fLaC"):
        return _flac_parts(source), ""
    if looks_like_mpeg(source, head) or path.suffix.lower() in (".mp3", ".mp2", ".mp1", ".mpga"):
        parts = _mpeg_parts(source, 0, source.size)
        if parts:
            return parts, ""
    return [Part()], ""


def _payload_parts(source: ByteSource, payload: Payload) -> tuple[list[Part], str]:
    if payload.cut:
        raise DamagedError(
            f"is truncated: its header announces {payload.announced} bytes of audio, but the file has "
            f"{max(0, payload.there)}; get the whole file again"
        )
    if payload.mpeg:
        length = payload.there if payload.announced is None else payload.announced
        parts = _mpeg_parts(source, payload.start, payload.start + length)
        if parts:
            return parts, ""
    if payload.foreign:
        raise UndecodableError("a coding that libsndfile does not read")
    if payload.announced is None:
        # With the true length in the header, libsndfile reads to the end.
        return [Part(patched(source, payload.patches))], _note_of_length(payload)
    if payload.announced == payload.there and payload.announced % 2:
        # libsndfile expects the padding byte, which is missing.
        return [Part([range(source.size), b"\0"])], ""
    rest = left_over(source, payload)
    if rest:
        note = f"its header does not include the last {rest} bytes, which were not read"
        return [Part([range(source.size - rest)])], note
    return [Part()], ""


def _note_of_length(payload: Payload) -> str:
    """Return a note if a recorder crashed; programs that write to a pipe mark the length as unknown instead."""
    return "its header gives no length: read to the end of the file" if payload.unfinished else ""


def _flac_parts(source: ByteSource) -> list[Part]:
    parts = streams(source)
    for part in parts:
        head = source.read(part.start, _HEAD)
        if announced_samples(head) is None and not ends_with_a_frame(source, part):
            raise DamagedError(
                "is truncated: its last FLAC frame is incomplete; get the whole file again"
            )
    return [Part([part]) for part in parts] or [Part()]


def _mpeg_parts(source: ByteSource, start: int, stop: int) -> list[Part]:
    parts = []
    for segment in find_segments(source, start, stop):
        pieces, skip = segment.view()
        # With a correct tag, libsndfile knows the length itself.
        parts.append(Part(pieces, None if segment.tagged else segment.samples, skip))
    return parts


def _info(path: Path, decoder: Decoder, note: str) -> AudioInfo:
    rate, channels = decoder.sample_rate, decoder.channels
    if not RATES[0] <= rate <= RATES[1]:
        raise BadAudioError(
            path,
            f"has a sample rate of {rate} Hz; allowed are {RATES[0]} to {RATES[1]} Hz, so its header is damaged",
        )
    if not 1 <= channels <= CHANNELS:
        raise BadAudioError(path, f"has {channels} channels; allowed are 1 to {CHANNELS}")
    return AudioInfo(path, rate, channels, decoder.frames, decoder.format, decoder.subtype, note)


def _unreadable(head: bytes, reason: str) -> str:
    """Return why a file cannot be read."""
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the audio itself: run `git lfs pull`"
    return (
        f"is not audio that libsndfile can read, or its header is damaged ({reason}); convert it to WAV or FLAC, or "
        "get it again"
    )

"""Files <-> arrays: any rate, channels and format that libsndfile reads, whole or block by block.

Arrays are float32 of shape (channel, time), full scale 1. Every bad file is a RasedError with one
sentence; a file that is written appears under its name only when it is complete.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import SEEK_SET
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import soundfile
import soxr
from einops import rearrange
from jaxtyping import Float, Float32

from rased.errors import RasedError

BLOCK_SECONDS = 4.0

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".aif": ("AIFF", "PCM_16"),
    ".aiff": ("AIFF", "PCM_16"),
    ".au": ("AU", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".sph": ("NIST", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".oga": ("OGG", "VORBIS"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
"""What a file name says: container and its usual coding; also what counts as audio in a folder."""

LOSSY = {".mp3", ".oga", ".ogg", ".opus"}

_UNKNOWN_LENGTH = 1 << 61
_STREAMED = (1 << 31) - (1 << 12)  # what writers to a pipe put for a length that they do not know
_SHORTENED = re.compile(r"data : (\d+) \(should be (\d+)\)")
_WAV_LIMIT = (1 << 32) - (1 << 16)
_BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a file says.

    Attributes:
        path: the file.
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel; None where the header does not know (a FLAC written to a pipe).
        format: libsndfile's name of the container, "WAV".
        subtype: libsndfile's name of the coding, "PCM_16".
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int | None
    format: str
    subtype: str

    @property
    def seconds(self) -> float | None:
        """Length in seconds, where the header knows it."""
        return None if self.frames is None else self.frames / self.sample_rate


def inspect(path: str | Path) -> AudioInfo:
    """Read the header.

    Raises:
        RasedError: no such file, a folder, empty, unreadable or not audio.
    """
    path = Path(path)
    with _open(path) as file:
        return _info(path, file)


def blocks(
    path: str | Path, *, seconds: float = BLOCK_SECONDS
) -> Iterator[Float32[np.ndarray, "channel time"]]:
    """Yield the file in blocks of `seconds` (the last one shorter), in flat memory.

    Raises:
        RasedError: as `inspect`; no samples, NaN or infinite samples, fewer samples than announced.
    """
    path = Path(path)
    with _open(path) as file:
        info = _info(path, file)
        length = max(1, round(seconds * info.sample_rate))
        done = 0
        while True:
            try:
                block = file.read(length, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError):
                raise _truncated(info) from None
            if not len(block):
                break
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                at = (done + int(np.argmin(finite))) / info.sample_rate
                raise RasedError(
                    f"'{path}' holds NaN or infinite samples (the first at {at:.3f} s); "
                    f"repair or leave out the file."
                )
            done += len(block)
            yield rearrange(block, "time channel -> channel time")
    if info.frames is not None and done < info.frames:
        raise _truncated(info)
    if done == 0:
        raise RasedError(f"'{path}' holds no samples; leave out the file.")


def read(
    path: str | Path, *, sample_rate: int | None = None
) -> tuple[Float32[np.ndarray, "channel time"], int]:
    """Read a whole file, resampled to `sample_rate` where one is given; return audio and rate.

    Raises:
        RasedError: as `blocks`.
    """
    info = inspect(path)
    audio = np.concatenate(list(blocks(path)), axis=1)
    wanted = sample_rate or info.sample_rate
    return resample(audio, info.sample_rate, wanted), wanted


def resampled_length(length: int, source: int, wanted: int) -> int:
    """Samples at rate `wanted` that cover `length` samples at rate `source`, rounded up.

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
    """Resampling of a stream of blocks; concatenated, they are what `resample` gives.

    Args:
        source: rate of what comes in, in Hz.
        wanted: rate of what goes out, in Hz.
        channels: number of channels.
    """

    def __init__(self, source: int, wanted: int, channels: int) -> None:
        self.source, self.wanted, self.channels = source, wanted, channels
        self._consumed = 0
        self._produced = 0
        self._stream: soxr.ResampleStream | None = None
        if source != wanted:
            self._stream = soxr.ResampleStream(source, wanted, channels, dtype="float32")

    def push(
        self, block: Float32[np.ndarray, "channel time"]
    ) -> Float32[np.ndarray, "channel resampled"]:
        """Take the next samples; return those that are ready."""
        self._consumed += block.shape[1]
        return self._through(block, last=False)

    def finish(self, length: int | None = None) -> Float32[np.ndarray, "channel resampled"]:
        """Return the rest: `length` samples come out in all (resampled_length of what came in)."""
        if length is None:
            length = resampled_length(self._consumed, self.source, self.wanted)
        needed = resampled_length(length, self.wanted, self.source) + 1
        silence = np.zeros((self.channels, max(0, needed - self._consumed)), dtype=np.float32)
        start = self._produced
        return self._through(silence, last=True)[:, : max(0, length - start)]

    def _through(
        self, block: Float32[np.ndarray, "channel time"], *, last: bool
    ) -> Float32[np.ndarray, "channel resampled"]:
        if self._stream is not None:
            columns = np.ascontiguousarray(rearrange(block, "channel time -> time channel"))
            ready = self._stream.resample_chunk(columns, last=last)
            block = rearrange(ready.reshape(-1, self.channels), "time channel -> channel time")
        self._produced += block.shape[1]
        return block


def output_coding(path: Path, source: AudioInfo) -> tuple[str, str]:
    """Container and coding of an output file: its name says the container, the input says the bits.

    A coding that keeps less than 16 bits (8-bit PCM, A-law, ADPCM) becomes 16-bit PCM: the estimate
    needs the room that its input did not. A lossy container gets its usual coding.

    Raises:
        RasedError: a name whose ending says no format.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise RasedError(
            f"the name of the output '{path}' does not say which format; known endings: "
            f"{', '.join(FORMATS)}."
        )
    container, usual = FORMATS[suffix]
    keeps = source.subtype in (*_BITS, "FLOAT", "DOUBLE") and suffix not in LOSSY
    if keeps and soundfile.check_format(container, source.subtype):
        return container, source.subtype
    if keeps and container == "FLAC" and source.subtype != "PCM_16":
        return container, "PCM_24"
    return container, usual


def output_name(name: Path) -> Path:
    """Name of the output for an input of a folder: the same; what was lossy becomes FLAC.

    >>> output_name(Path("a/b.mp3")).as_posix(), output_name(Path("a/b.wav")).as_posix()
    ('a/b.flac', 'a/b.wav')
    """
    return name.with_suffix(".flac") if name.suffix.lower() in LOSSY else name


class AudioWriter:
    """Write a file block by block; it appears under its name when the `with` block ends well.

    A `with` block that fails leaves nothing behind, and an older file of that name as it was.

    Args:
        path: the output; its folder is made where missing, an existing file is replaced at the end.
        sample_rate: Hz.
        channels: number of channels.
        container: libsndfile's name, "WAV"; a WAV of more than 4 GB becomes RF64.
        coding: libsndfile's name, "PCM_16".
        frames: samples per channel to come, where known.

    Raises:
        RasedError: a folder, a read-only place, a format that cannot hold the audio, a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample_rate: int,
        channels: int,
        container: str = "WAV",
        coding: str = "PCM_16",
        frames: int | None = None,
    ) -> None:
        self.path = Path(path).resolve()
        self._named = path
        self._coding = coding
        size = (frames or 0) * channels * _BITS.get(coding, 64) // 8
        if container == "WAV" and size > _WAV_LIMIT:
            container = "RF64"
        self._refuse_bad_place()
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = _Sink(self._temporary)
        except OSError as error:
            raise RasedError(f"cannot write '{path}': {error.strerror}.") from None
        try:
            self._file = soundfile.SoundFile(
                self._sink,
                "w",
                samplerate=sample_rate,
                channels=channels,
                subtype=coding,
                format=container,
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            self._discard()
            self._refuse_full_disk()
            raise RasedError(
                f"cannot write '{path}': {container} with {coding} does not hold {channels} "
                f"channels at {sample_rate} Hz ({error}); name a .wav file instead."
            ) from None

    def write(self, block: Float32[np.ndarray, "channel time"]) -> None:
        """Append a block; integer codings are rounded and clipped at full scale."""
        columns = rearrange(block, "channel time -> time channel")
        with suppress(AssertionError, soundfile.LibsndfileError):
            self._file.write(_quantised(columns, self._coding))
        self._refuse_full_disk()

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        if kind is not None:
            self._discard()
            return False
        with suppress(soundfile.LibsndfileError):
            self._file.close()
        self._sink.close()
        if self._sink.error is not None:
            self._discard()
        self._refuse_full_disk()
        self._temporary.replace(self.path)
        return False

    def _refuse_bad_place(self) -> None:
        if self.path.is_dir():
            raise RasedError(f"cannot write '{self._named}': it is a folder; name a file in it.")
        if self.path.exists():
            mode = self.path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise RasedError(f"cannot write '{self._named}': it is no regular file.")
            if not mode & 0o222:
                raise RasedError(
                    f"cannot write '{self._named}': it exists and is read-only; "
                    f"name another output."
                )

    def _refuse_full_disk(self) -> None:
        if self._sink.error is not None:
            raise RasedError(
                f"cannot write '{self._named}': {self._sink.error.strerror}; "
                f"nothing was changed there."
            ) from None

    def _discard(self) -> None:
        with suppress(AttributeError, soundfile.LibsndfileError):
            self._file.close()
        self._sink.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def write(
    path: str | Path,
    audio: Float[np.ndarray, "channel time"],
    sample_rate: int,
    *,
    coding: str | None = None,
) -> None:
    """Write a whole file in the format that its name says.

    `coding` is libsndfile's subtype, "PCM_24"; the usual one of the format where None.

    Raises:
        RasedError: as `AudioWriter`; a name whose ending says no format.
    """
    path = Path(path)
    source = AudioInfo(path, sample_rate, audio.shape[0], audio.shape[1], "", coding or "")
    container, chosen = output_coding(path, source)
    with AudioWriter(
        path,
        sample_rate=sample_rate,
        channels=audio.shape[0],
        container=container,
        coding=coding or chosen,
        frames=audio.shape[1],
    ) as writer:
        writer.write(audio.astype(np.float32, copy=False))


class _Sink:
    """A file for libsndfile that remembers the disk's first error: callbacks cannot raise."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb+")
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                self.error = error
        return len(data) if self.error is None else 0

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            self.error = self.error or error
            return -1

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Each write is flushed."""

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error


def _quantised(columns: Float32[np.ndarray, "time channel"], coding: str) -> np.ndarray:
    if coding in ("FLOAT", "DOUBLE"):
        return np.ascontiguousarray(columns)
    if coding not in _BITS:
        return np.ascontiguousarray(columns.clip(-1, 1))
    bits = _BITS[coding]
    scale = 2.0 ** (bits - 1)
    steps = np.rint(columns.astype(np.float64) * scale).clip(-scale, scale - 1)
    if bits == 16:
        return steps.astype(np.int16)
    return steps.astype(np.int32) << (32 - bits)


def _open(path: Path) -> soundfile.SoundFile:
    if not path.exists():
        raise RasedError(f"there is no file '{path}'.")
    if path.is_dir():
        raise RasedError(f"'{path}' is a folder, not an audio file.")
    if path.is_file() and path.stat().st_size == 0:
        raise RasedError(f"'{path}' is empty (0 bytes); leave out the file.")
    if not os.access(path, os.R_OK):
        raise RasedError(f"'{path}' cannot be read: permission denied.")
    try:
        return soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError, ValueError, RuntimeError):
        known = ", ".join(suffix.lstrip(".") for suffix in FORMATS)
        raise RasedError(
            f"'{path}' is not audio that libsndfile can read, or its header is damaged "
            f"(it reads {known} and others)."
        ) from None


def _info(path: Path, file: soundfile.SoundFile) -> AudioInfo:
    frames = file.frames if 0 <= file.frames < _UNKNOWN_LENGTH else None
    shortened = _SHORTENED.search(file.extra_info) if file.format.startswith("WAV") else None
    if shortened:
        announced, found = int(shortened[1]), int(shortened[2])
        if found < announced < _STREAMED:
            frames = announced // max(1, found // max(1, file.frames))
    return AudioInfo(path, file.samplerate, file.channels, frames, file.format, file.subtype)


def _truncated(info: AudioInfo) -> RasedError:
    announced = "more" if info.frames is None else f"{info.frames}"
    return RasedError(
        f"'{info.path}' is truncated or damaged: its header announces {announced} samples and "
        f"not all can be read; get the whole file again."
    )

"""Write audio files; a file appears under its name only when it is complete."""

import stat
from contextlib import ExitStack, suppress
from io import SEEK_SET
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import soundfile
from einops import rearrange
from jaxtyping import Float, Float32

from rased.audio.names import FORMATS, LOSSY
from rased.audio.problems import printable
from rased.audio.reading import AudioInfo
from rased.disk import replacing
from rased.errors import RasedError

_WAV_LIMIT = (1 << 32) - (1 << 16)
_AT_ONCE = 1 << 16
"""Samples per channel in one call of libsndfile: its Vorbis encoder crashes for millions of them."""
_FULL_SCALE = 1 + 2**-17
"""Samples above this amplitude count as clipped: full scale plus a margin far below a 16-bit step."""
_BITS = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}


def output_coding(path: Path, source: AudioInfo) -> tuple[str, str]:
    """Return container and coding of an output file: the name determines the container, the input the bit depth.

    A coding with fewer than 16 bits (8-bit PCM, A-law, ADPCM) becomes 16-bit PCM, because the estimate
    may need a larger dynamic range than the input. A lossy container gets its default coding.

    Raises:
        RasedError: the suffix of the name is not a known format.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise RasedError(
            f"the suffix of the output '{path}' is not a known format; known suffixes: "
            f"{', '.join(FORMATS)}."
        )
    container, usual = FORMATS[suffix]
    keeps = source.subtype in (*_BITS, "FLOAT", "DOUBLE") and suffix not in LOSSY
    if keeps and soundfile.check_format(container, source.subtype):
        return container, source.subtype
    if keeps and container == "FLAC" and source.subtype != "PCM_16":
        return container, "PCM_24"
    return container, usual


class AudioWriter:
    """Writes a file block by block; the file appears under its name when the `with` block succeeds.

    If the `with` block fails, nothing remains, and an existing file of that name is unchanged.

    Args:
        path: the output; its folder is created if missing, and an existing file is replaced at the end.
        sample_rate: Hz.
        channels: number of channels.
        container: libsndfile's name, such as "WAV"; a WAV of more than 4 GB becomes RF64.
        coding: libsndfile's name, such as "PCM_16".
        frames: expected samples per channel, if known.

    Attributes:
        clipped: share of the samples so far that exceeded full scale, in a coding that cannot represent them.

    Raises:
        RasedError: a folder, a read-only location, a format that cannot hold the audio, or a full disk.
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
        # The file that a link leads to is replaced, not the link.
        self.path = Path(path).resolve()
        self._named = path
        self._coding = coding
        # 64 bits for a sample: an upper bound for the other codings.
        size = (frames or 0) * channels * _BITS.get(coding, 64) // 8
        if container == "WAV" and size > _WAV_LIMIT:
            container = "RF64"
        # Samples of all channels that fit.
        self._most = _WAV_LIMIT * 8 // _BITS.get(coding, 64) if container == "WAV" else None
        self._refuse_bad_place()
        self._samples = self._over = 0
        self._place = ExitStack()
        try:
            self._sink = _Sink(self._place.enter_context(replacing(self.path)))
        except OSError as error:
            raise RasedError(f"cannot write '{printable(path)}': {error.strerror}.") from None
        self._file = self._opened(sample_rate, channels, container)

    def _opened(self, sample_rate: int, channels: int, container: str) -> soundfile.SoundFile:
        try:
            return soundfile.SoundFile(
                self._sink,
                "w",
                samplerate=sample_rate,
                channels=channels,
                subtype=self._coding,
                format=container,
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            self._discard()
            self._refuse_full_disk()
            reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
            raise RasedError(
                f"cannot write '{printable(self._named)}': {container} with {self._coding} does not support "
                f"{channels} channels at {sample_rate} Hz ({reason}); use a .wav file instead."
            ) from None

    @property
    def clipped(self) -> float:
        """Return the share of clipped samples so far."""
        return self._over / max(1, self._samples)

    def write(self, block: Float32[np.ndarray, "channel time"]) -> None:
        """Append a block; integer codings are rounded, and clipped at full scale."""
        columns = rearrange(block, "channel time -> time channel")
        self._samples += columns.size
        if self._most is not None and self._samples > self._most:
            raise RasedError(
                f"cannot write '{printable(self._named)}': it exceeds 4 GB, the limit of WAV; use a .rf64 or "
                ".flac file."
            )
        if self._coding not in ("FLOAT", "DOUBLE"):
            self._over += int((np.abs(columns) > _FULL_SCALE).sum())
        try:
            for start in range(0, len(columns), _AT_ONCE):
                part = columns[start : start + _AT_ONCE]
                self._file.write(_quantised(part, self._coding))
        except (AssertionError, soundfile.LibsndfileError):
            # If the sink fails, soundfile raises without the reason, which the sink has kept.
            if self._sink.error is None:
                raise
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
        try:
            self._place.close()
        except OSError as error:
            self._sink.error = error
        self._refuse_full_disk()
        return False

    def _refuse_bad_place(self) -> None:
        if self.path.is_dir():
            raise RasedError(
                f"cannot write '{printable(self._named)}': it is a folder; give the name of a file in it."
            )
        if self.path.exists():
            mode = self.path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise RasedError(
                    f"cannot write '{printable(self._named)}': it is a pipe or device, not a file."
                )
            # `replacing` would succeed: a rename needs no permission of the file that it replaces.
            if not mode & 0o222:
                raise RasedError(
                    f"cannot write '{printable(self._named)}': it exists and is read-only; "
                    f"choose another output."
                )

    def _refuse_full_disk(self) -> None:
        if self._sink.error is not None:
            raise RasedError(
                f"cannot write '{printable(self._named)}': {self._sink.error.strerror}; "
                f"nothing was changed."
            ) from None

    def _discard(self) -> None:
        with suppress(AttributeError, soundfile.LibsndfileError):
            self._file.close()
        self._sink.close()
        failure = OSError("discarded")  # makes `replacing` keep the existing file
        with suppress(OSError):
            self._place.__exit__(OSError, failure, None)


def write(
    path: str | Path,
    audio: Float[np.ndarray, "channel time"],
    sample_rate: int,
    *,
    coding: str | None = None,
) -> None:
    """Write a whole file in the format of its suffix.

    `coding` is libsndfile's subtype, such as "PCM_24"; None: the default coding of the format.

    Raises:
        RasedError: see `AudioWriter`; or the suffix is not a known format.
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
    """A file for libsndfile that stores the first error of the file system: callbacks cannot raise."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb+")
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(data)
                # So that a full disk shows in this write.
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
        """Do nothing: each write is unbuffered."""

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
    # libsndfile takes the upper bits of an integer.
    return steps.astype(np.int32) << (32 - bits)

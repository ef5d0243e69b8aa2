"""Replace the audio of a video with ffmpeg, if installed; the picture is copied without decoding."""

import json
import re
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import Float32

from rased.audio.ffmpeg import DEMUXERS, available
from rased.audio.problems import printable
from rased.disk import replacing
from rased.errors import RasedError
from rased.machine import read_at

_MUXERS = {
    ".mp4": ("mp4", "aac"),
    ".m4v": ("mp4", "aac"),
    ".mov": ("mov", "aac"),
    ".mkv": ("matroska", "flac"),
    ".webm": ("webm", "libopus"),
    ".avi": ("avi", "pcm_s16le"),
}
"""Suffix -> container and audio coding of ffmpeg."""
VIDEO = frozenset(_MUXERS)
"""Suffixes of videos that can be written."""
_PROBE_SECONDS = 30


def has_picture(path: Path) -> bool:
    """Return whether a file is a video that can be written; the cover of an album is no picture. Needs ffmpeg."""
    if path.suffix.lower() not in VIDEO or not available():
        return False
    try:
        found = path.stat()
    except OSError:
        return False
    return _shows(path.absolute(), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _shows(path: Path, size: int, modified: int) -> bool:
    """Return whether a file has a picture; size and time belong to the key of the cache."""
    streams = _probe(path).get("streams", [])
    return any(
        stream.get("codec_type") == "video"
        and not stream.get("disposition", {}).get("attached_pic")
        for stream in streams
    )


def video_name(source: Path, target: Path) -> Path:
    """Return the output of an input whose audio would go to `target`: with the suffix of a video if it is one."""
    return target.with_suffix(source.suffix) if has_picture(source) else target


class VideoWriter:
    """Writes a video block by block: pictures and subtitles of a source, and new audio instead of its own.

    As with `AudioWriter`, the file appears under its name when the `with` block succeeds; otherwise nothing remains.
    The audio begins where the first audio of the source does.

    Args:
        path: the output; its suffix is one of `VIDEO`.
        source: the video.
        sample_rate: of the audio, in Hz.
        channels: of the audio.

    Raises:
        RasedError: a suffix that is not one of a video, no ffmpeg, or a folder that cannot be written to.
    """

    clipped = 0.0

    def __init__(self, path: Path, source: Path, *, sample_rate: int, channels: int) -> None:
        container, coding = _muxer(path)
        if not available():
            raise RasedError(
                f"cannot write '{printable(path)}': a video needs ffmpeg, which is not installed."
            )
        self._named = path
        self._place = ExitStack()
        self._said: IO[bytes] = self._place.enter_context(tempfile.TemporaryFile())
        try:
            part = self._place.enter_context(replacing(path.resolve()))
        except OSError as error:
            self._place.close()
            raise RasedError(f"cannot write '{printable(path)}': {error.strerror}.") from None
        words = "ffmpeg -hide_banner -nostats -loglevel level+error -y".split()
        words += ["-format_whitelist", DEMUXERS, "-protocol_whitelist", "file"]
        words += ["-i", f"file:{source.absolute()}"]
        words += ["-itsoffset", f"{_audio_start(source):.6f}", "-protocol_whitelist", "pipe"]
        words += ["-f", "f32le", "-ar", str(sample_rate), "-ac", str(channels), "-i", "pipe:0"]
        words += "-map 0:V -map 0:s? -map 1:a -map_metadata 0 -c copy".split()
        words += ["-c:a", coding, "-f", container, f"file:{part.absolute()}"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said
        )

    def write(self, block: Float32[np.ndarray, "channel time"]) -> None:
        """Append a block."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(block.T, dtype="<f4").tobytes())
        except BrokenPipeError:
            self._process.wait()
            raise self._failure() from None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        assert self._process.stdin is not None
        if kind is not None:
            self._process.kill()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        failed = self._process.wait() != 0 and kind is None
        failure = self._failure() if failed else None
        # An error keeps `replacing` from renaming the file.
        with suppress(RasedError):
            given = (RasedError, failure, None) if failure else (kind, error, trace)
            self._place.__exit__(*given)
        if failure is not None:
            raise failure
        return False

    def _failure(self) -> RasedError:
        said = read_at(self._said.fileno(), 1 << 20, 0).decode(errors="replace").splitlines()
        reason = re.sub(r"\[[^]]*\]", "", said[0]).strip() if said else "it stopped"
        return RasedError(
            f"cannot write '{printable(self._named)}': ffmpeg says: {reason.rstrip('.')}; try a .mkv file."
        )


def _muxer(path: Path) -> tuple[str, str]:
    suffix = path.suffix.lower()
    if suffix not in _MUXERS:
        raise RasedError(
            f"the suffix of '{printable(path)}' is not that of a video; known ones: {', '.join(_MUXERS)}."
        )
    return _MUXERS[suffix]


def _probe(path: Path) -> dict[str, Any]:
    """Return what ffprobe says of the streams; empty if it cannot read the file."""
    words = "ffprobe -v error -of json -show_streams -show_format".split()
    words += ["-format_whitelist", DEMUXERS, "-protocol_whitelist", "file"]
    try:
        done = subprocess.run(
            [*words, f"file:{path.absolute()}"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout or b"{}")
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return found if isinstance(found, dict) else {}


def _audio_start(path: Path) -> float:
    """Return the seconds from the start of a file to its first audio."""
    found = _probe(path)
    sounds = [one for one in found.get("streams", []) if one.get("codec_type") == "audio"]
    try:
        return float(sounds[0]["start_time"]) - float(found["format"]["start_time"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0

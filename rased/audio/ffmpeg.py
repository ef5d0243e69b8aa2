"""Decode with ffmpeg, if installed, what libsndfile does not support: MPEG-4, WebM, WMA, AMR and others."""

import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float32

from rased.audio.problems import DamagedError
from rased.machine import read_at

DEMUXERS = "mov,wav,matroska,webm,aac,asf,amr,avi,caf,flv,ac3,eac3,mpeg,mpegts,ogg,ape,wv,tta,dts,aiff,w64,sox"
"""Containers only: a playlist could refer to other files and network addresses."""
_PATIENCE = 60
"""Seconds without output after which ffmpeg is stopped."""
_SLACK_SECONDS = 0.25
"""Tolerance of the announced length: codecs have delay and padding."""

_MAGIC = (
    (re.compile(rb".{4}(ftyp|moov|mdat|wide|free|skip)", re.DOTALL), "MPEG-4 or QuickTime"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "Matroska or WebM"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), "AAC"),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "Windows Media"),
    (re.compile(rb"#!AMR"), "AMR"),
    (re.compile(rb"RIFF.{4}AVI ", re.DOTALL), "AVI video"),
    (re.compile(rb"\x00\x00\x01\xba"), "MPEG video"),
    (re.compile(rb"FLV\x01"), "Flash video"),
    (re.compile(rb"\x0b\x77"), "AC-3"),
    (re.compile(rb"\.SoX|XoS\."), "a file of sox"),
    (re.compile(rb"MAC "), "Monkey's Audio"),
    (re.compile(rb"wvpk"), "WavPack"),
    (re.compile(rb"TTA1"), "True Audio"),
    (re.compile(rb"\x7f\xfe\x80\x01"), "DTS"),
    (re.compile(rb"OggS"), "Ogg with another codec than Vorbis or Opus"),
    (re.compile(rb"caff"), "CAF with a coding that libsndfile does not read"),
)


def kind_of(head: bytes) -> str | None:
    """Return which kind of ffmpeg's files the first bytes belong to; None for any other file."""
    return next((name for magic, name in _MAGIC if magic.match(head)), None)


def available() -> bool:
    """Return whether ffmpeg is installed."""
    return shutil.which("ffmpeg") is not None


class FfmpegDecoder:
    """Reads the first audio stream of a file through a pipe from ffmpeg.

    Raises:
        DamagedError: ffmpeg finds no audio in the file.
    """

    format = "FFMPEG"
    frames: int | None = None

    def __init__(self, path: Path) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()
        words = f"-nostdin -hide_banner -nostats -loglevel level+info -format_whitelist {DEMUXERS}".split()
        # No network; the prefix keeps a name with a colon from being a protocol.
        words += ["-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:a:0"]
        # bitexact: no text with the version of ffmpeg in the header.
        words += "-c:a pcm_f32le -fflags +bitexact -f wav -".split()
        self._process = subprocess.Popen(
            ["ffmpeg", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said
        )
        try:
            self.channels, self.sample_rate = self._header()
        except BaseException:
            self.close()
            raise
        self.subtype = "PCM_24" if re.search(rb"Audio: .*\(24 bit\)", self._log()) else "LOSSY"
        self._done = 0
        self._left = b""

    def read(self, count: int) -> Float32[np.ndarray, "time channel"]:
        """See `Decoder`."""
        width = 4 * self.channels
        data = self._left + self._bytes(count * width - len(self._left))
        whole = len(data) // width * width
        self._left = data[whole:]
        block = np.frombuffer(data[:whole], "<f4").reshape(-1, self.channels)
        self._done += len(block)
        if not len(block):
            self._refuse_what_is_missing()
        return block

    def close(self) -> None:
        """Stop ffmpeg."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._said.close()

    def _header(self) -> tuple[int, int]:
        """Read the header of the WAV from the pipe, up to the first sample."""
        channels = rate = 0
        self._bytes(12)
        # ffmpeg cannot know the size of the audio when it writes the header; the sizes before it are true.
        while len(chunk := self._bytes(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data" and channels:
                return channels, rate
            body = self._bytes(size + size % 2)
            if chunk[:4] == b"fmt ":
                channels = int.from_bytes(body[2:4], "little")
                rate = int.from_bytes(body[4:8], "little")
        self._process.wait()
        raise DamagedError(f"cannot be read by ffmpeg ({self._complaint() or 'no audio in it'})")

    def _bytes(self, count: int) -> bytes:
        parts = []
        while count > 0:
            part = self._part(min(count, 1 << 20))
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _part(self, most: int) -> bytes:
        """Return the next bytes, at most so many; ffmpeg is stopped if it writes none for a minute.

        A thread does that: `select` knows neither the pipes of Windows nor the descriptors above 1023.
        """
        assert self._process.stdout is not None
        silent = threading.Event()

        def give_up() -> None:
            silent.set()
            self._process.kill()

        watch = threading.Timer(_PATIENCE, give_up)
        watch.daemon = True
        watch.start()
        try:
            part = os.read(self._process.stdout.fileno(), most)
        finally:
            watch.cancel()
        if silent.is_set() and not part:
            raise DamagedError(f"gives no audio: ffmpeg wrote nothing for {_PATIENCE} seconds")
        return part

    def _refuse_what_is_missing(self) -> None:
        code = self._process.wait()
        complaint = self._complaint()
        if code or complaint:
            raise DamagedError(
                f"is truncated or damaged: ffmpeg reads {self._done / self.sample_rate:.3f} s of it "
                f"({complaint or f'exit code {code}'}); get the whole file again"
            )
        announced = self._announced()
        if announced is not None and self._done / self.sample_rate < announced - _SLACK_SECONDS:
            raise DamagedError(
                f"is truncated: its header announces {announced:.2f} s, but the file has "
                f"{self._done / self.sample_rate:.2f} s; get the whole file again"
            )

    def _announced(self) -> float | None:
        """Return the length in seconds according to the container, if it contains only audio and does not estimate."""
        log = self._log().partition(b"Output #0")[0]
        said = re.search(rb"Duration: (\d+):(\d+):(\d+\.\d+)", log)
        if (
            said is None
            or b"Estimating duration" in log
            or len(re.findall(rb"Stream #0:", log)) != 1
        ):
            return None
        # Streams without a header for the whole file: their length is an estimate.
        if re.search(rb"Input #0, (aac|amr|ac3|eac3|dts)", log):
            return None
        hours, minutes, seconds = (float(part) for part in said.groups())
        return 3600 * hours + 60 * minutes + seconds

    def _complaint(self) -> str:
        """Return the first error that ffmpeg printed, or ""."""
        for line in self._log().decode(errors="replace").splitlines():
            if "[error]" in line or "[fatal]" in line:
                return re.sub(r"\[[^]]*\]", "", line).strip().rstrip(".")
        return ""

    def _log(self) -> bytes:
        return read_at(self._said.fileno(), 1 << 20, 0)

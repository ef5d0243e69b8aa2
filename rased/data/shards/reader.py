"""Read and decode single samples of shards: one positioned read each."""

import io
import os
from collections import OrderedDict
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from rased.data.schemas import CHANNELS, Codec
from rased.data.shards import opus, remote
from rased.data.shards.block_cache import BLOCK_MB
from rased.data.shards.index import Index
from rased.errors import RasedError
from rased.machine import READ, read_at

_OPEN_FILES = 64


class ShardError(RasedError):
    """A shard cannot be opened. This is not the fault of one sample, so reading stops."""


def decode(
    data: bytes, codec: Codec, start: int, frames: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Decode samples [start, start + frames) of stored bytes as float32 (time,) in [-1, 1]; fewer at the end.

    If `out` is given, of that length, the samples are written into it.

    Raises:
        soundfile.LibsndfileError: the bytes cannot be decoded.
    """
    if codec == "pcm16":
        audio = np.frombuffer(memoryview(data)[2 * start : 2 * (start + frames)], dtype="<i2")
        out = None if out is None else out[: len(audio)]
        # A power of two: the product is exact.
        return np.multiply(audio, np.float32(2**-15), out=out)
    if codec == "opus":
        heard = opus.decode(data, start, frames)
        if out is None:
            return heard
        out[: len(heard)] = heard
        return out[: len(heard)]
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        if start:
            file.seek(start)
        return file.read(frames, dtype="float32", out=out)


def decode_channels(
    data: bytes, codec: Codec, start: int, frames: int, channels: int
) -> NDArray[np.float32]:
    """Decode like `decode`, but all channels of a recording: (channel, time).

    Raises:
        soundfile.LibsndfileError: the bytes cannot be decoded.
    """
    if codec == "pcm16":
        # Interleaved samples of two bytes.
        stored = memoryview(data)[2 * channels * start : 2 * channels * (start + frames)]
        audio = np.frombuffer(stored, dtype="<i2").reshape(-1, channels)
        return np.ascontiguousarray(audio.T) * np.float32(2**-15)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        file.seek(start)
        heard = file.read(frames, dtype="float32", always_2d=True)
    return np.ascontiguousarray(heard.T)


class Reader:
    """Random access to the samples of an index: one positioned read each, few open files, safe to fork or pickle."""

    def __init__(self, index: Index, *, block_mb: float = BLOCK_MB) -> None:
        self.index = index
        self._remote = (
            remote.RemoteShards(index.origin, index.shards, index.columns, block_mb)
            if index.origin
            else None
        )
        self._files: OrderedDict[int, int] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Drop open files."""
        return self.__dict__ | {"_files": OrderedDict(), "_process": -1}

    def __del__(self) -> None:
        """Close the files, in the process that opened them."""
        files = self.__dict__.get("_files")
        if files and self._process == os.getpid():
            for descriptor in files.values():
                os.close(descriptor)

    def raw(self, row: int, first: int = 0, size: int = -1) -> bytes:
        """Return the stored bytes of one sample, or `size` of them from `first` on.

        Raises:
            ShardError: the shard cannot be opened.
            RasedError: the shard is truncated, or the bytes cannot be read.
        """
        columns = self.index.columns
        size = int(columns["bytes"][row]) - first if size < 0 else size
        if self._remote is not None:
            return self._remote.read(row, first, size)
        shard, offset = int(columns["shard"][row]), int(columns["offset"][row])
        try:
            data = read_at(self._file(shard), size, offset + first)
        except OSError as error:
            raise RasedError(
                f"{self._name(row)} cannot be read ({(error.strerror or str(error)).lower()}): check the disk, then "
                f"the shards with `rased data verify {self.index.folder}`."
            ) from error
        if len(data) != size:
            raise RasedError(
                f"{self._name(row)} is truncated: check with `rased data verify {self.index.folder}`."
            )
        return data

    def read(
        self, row: int, start: int = 0, frames: int = -1, *, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return samples [start, start + frames) of a recording as float32 (time,) in [-1, 1]; -1: to its end.

        Of several channels, return the first. If `out` is given, of that length, the samples are written into it. Of
        pcm16 only these bytes are read.

        Raises:
            RasedError: the bytes do not match the index.
        """
        if self.index.columns[CHANNELS][row] > 1:
            first = self.read_channels(row, start, frames)[0]
            if out is None:
                return first
            out[:] = first
            return out
        return self._decoded(row, start, frames, 1, out)

    def read_channels(self, row: int, start: int = 0, frames: int = -1) -> NDArray[np.float32]:
        """Read like `read`, but all channels: (channel, time).

        Raises:
            RasedError: the bytes do not match the index.
        """
        channels = int(self.index.columns[CHANNELS][row])
        if channels == 1:
            return self.read(row, start, frames)[None]
        return self._decoded(row, start, frames, channels)

    def _decoded(
        self,
        row: int,
        start: int,
        frames: int,
        channels: int,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return (time,) of one channel, else (channel, time)."""
        codec, length = self.index.codec, int(self.index.columns["frames"][row])
        frames = length - start if frames < 0 else frames
        check = f"check with `rased data verify` where the shards are stored, {self.index.place}"
        try:
            if codec == "pcm16":
                data, begin = self.raw(row, 2 * channels * start, 2 * channels * frames), 0
            else:
                # Compressed bytes have no known place for a sample: all of them are read.
                data, begin = self.raw(row), start
            if channels == 1:
                audio = decode(data, codec, begin, frames, out)
            else:
                audio = decode_channels(data, codec, begin, frames, channels)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            raise RasedError(f"{self._name(row)} cannot be decoded ({reason}): {check}.") from error
        found = audio.shape if channels > 1 else (1, len(audio))
        if found != (channels, frames):
            has, promised = f"{start + found[1]} samples", f"{length}"
            if channels > 1:
                has, promised = f"{found[0]} channels and {has}", f"{channels} and {length}"
            raise RasedError(
                f"{self._name(row)} has {has}, but the index says {promised}: {check}."
            )
        return audio

    def _name(self, row: int) -> str:
        columns = self.index.columns
        shard = self.index.shards[int(columns["shard"][row])]
        return f"Sample {columns['key'][row]} of {self.index.place}/{shard.name}"

    def _file(self, shard: int) -> int:
        if self._process != os.getpid():
            self._files, self._process = OrderedDict(), os.getpid()
        # Popped and put back at the end: the first one is the least recently used.
        descriptor = self._files.pop(shard, None)
        if descriptor is None:
            path = self.index.folder / self.index.shards[shard].name
            try:
                descriptor = os.open(path, READ)
            except OSError as error:
                raise ShardError(
                    f"{path} cannot be opened ({(error.strerror or str(error)).lower()}): restore the shard and run "
                    f"the same command again, or remove its samples with `rased data verify {path.parent} --repair`."
                ) from error
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.popitem(last=False)[1])
        self._files[shard] = descriptor
        return descriptor

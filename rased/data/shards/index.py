"""Tar shards and their index: read any sample of any shard with one positioned read; nothing is unpacked.

A corpus folder of one role contains `{split}-{number:06d}.tar` and `index.json`. The shards are plain
WebDataset files; the index adds the offset of each member, so that samples are read by (shard, offset,
bytes) in any order.
"""

import io
import json
import os
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

import rased
from rased.data.columns import Kind, Names, hexadecimal
from rased.data.schemas import CHANNELS, COLUMNS, SCHEMA, Codec, Role, Shard, read_index_parts
from rased.data.shards import opus, remote
from rased.errors import RasedError, nearest
from rased.machine import READ, read_at

INDEX = remote.INDEX
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("shard", "offset", "bytes", "frames", "licence"), "number"),
    "key": "key",
    "split": "split",
    "label": "label",
    "sha256": "hash",
}
_TEXTS = ("key", "split", "label")
DIGITS = 12
"""Hexadecimal digits of a recording's SHA-256 that a manifest keeps."""
_OPEN_FILES = 64


def bundle() -> Path:
    """Return the folder of the bundled corpus: speech, noise, rir and the frozen test set."""
    return Path(rased.__file__).parent / "assets" / "bundle"


def locate(name: str | Path, role: Role) -> Path:
    """Return the folder with the shards of one role: `bundle`, a folder with an index, or a folder with one per role.

    For a URL, return the local folder that its index was fetched into.

    Raises:
        RasedError: index.json is missing there.
    """
    if remote.is_remote(name):
        return remote.find(str(name), [role])[0]
    base = bundle() if str(name) == "bundle" else Path(name)
    for folder in (base, base / role):
        if (folder / INDEX).is_file():
            return folder
    raise RasedError(
        f"No shards of role {role} in '{name}': neither {base / INDEX} nor {base / role / INDEX} exists. "
        f"Write them with `rased data pack SRC --out {base} --role {role}`, or use 'bundle'."
    )


class ShardError(RasedError):
    """A shard cannot be opened. This is not the fault of one sample, so reading stops."""


@dataclass(frozen=True)
class Index:
    """The contents of a folder of shards by column, one row per sample, in the order of the shards.

    Attributes:
        folder: folder of index.json.
        origin: URL of the shards; "" if they are in the folder.
        role: speech, noise or rir.
        codec: flac, pcm16 (raw little-endian 16-bit samples) or opus (lossy).
        sample_rate: Hz.
        shards: the tar files.
        licences: the names that the column `licence` refers to by number.
        columns: key, split, label (Names), sha256 (32 bytes); shard, offset, bytes, frames, licence,
            channels (integers).
    """

    folder: Path
    origin: str
    role: Role
    codec: Codec
    sample_rate: int
    shards: tuple[Shard, ...]
    licences: tuple[str, ...]
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.columns["key"])

    @property
    def place(self) -> str:
        """Return the location of the shards: the folder, or its URL."""
        return self.origin or str(self.folder)

    @property
    def seconds(self) -> float:
        """Return the total duration of all samples."""
        return float(self.columns["frames"].sum()) / self.sample_rate

    def values(self, name: str) -> list[Any]:
        """Return a column as plain integers and strings."""
        column = self.columns[name]
        return list(hexadecimal(column)) if name == "sha256" else list(column.tolist())

    def only(self, split: str) -> "Index":
        """Return the index of one split.

        Raises:
            RasedError: the split is empty or unknown.
        """
        rows = self.rows(split)
        # No copy of the columns.
        if len(rows) == len(self):
            return self
        return replace(self, columns={name: of[rows] for name, of in self.columns.items()})

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split.

        Raises:
            RasedError: the split is empty or unknown.
        """
        found = np.flatnonzero(self.columns["split"].encoded == split.encode())
        if not len(found):
            known = sorted(set(self.columns["split"]))
            raise RasedError(
                f"No {self.role} in split '{split}' of {self.place}: {nearest(split, known)}"
            )
        return found


def read_index(folder: Path, *, resized: bool = False) -> Index:
    """Read FOLDER/index.json.

    Args:
        folder: folder of the shards.
        resized: accept shards whose size differs from the index.

    Raises:
        RasedError: no index, a damaged one, a newer schema, or shards that are missing or of another size.
    """
    path = folder / INDEX
    if not path.is_file():
        raise RasedError(
            f"No {INDEX} in {folder}: write it with `rased data verify {folder} --repair`."
        )
    mend = f"Rebuild it with `rased data verify {folder} --repair`."
    head, arrays = read_index_parts(path, _KINDS, repair=mend)
    index = Index(
        folder=folder,
        origin=remote.origin(folder),
        role=head.role,
        codec=head.codec,
        sample_rate=head.sample_rate,
        shards=tuple(head.shards),
        licences=tuple(head.licences),
        columns={n: Names(a) if _KINDS.get(n) in _TEXTS else a for n, a in arrays.items()},
    )
    shards = index.shards
    if index.origin:
        return index
    missing = [shard.name for shard in shards if not (folder / shard.name).is_file()]
    if missing:
        raise RasedError(
            f"{folder} lacks {', '.join(missing[:5])} that its index lists: restore the shards, or remove them "
            f"from the index with `rased data verify {folder} --repair`."
        )
    changed = [shard for shard in shards if (folder / shard.name).stat().st_size != shard.bytes]
    if changed and not resized:
        size = (folder / changed[0].name).stat().st_size
        raise RasedError(
            f"{folder / changed[0].name} has {size} bytes, but its index says {changed[0].bytes}: restore the shard, "
            f"or keep its good samples with `rased data verify {folder} --repair`."
        )
    return index


def write_index(
    folder: Path,
    *,
    role: Role,
    codec: Codec,
    sample_rate: int,
    shards: Sequence[Shard],
    licences: Sequence[str],
    columns: Mapping[str, Collection[Any]],
    attribution: str | None = None,
) -> None:
    """Write FOLDER/index.json atomically: a reader sees the old one or the new one.

    Columns are iterated value by value, several times: they need not be in memory. The column of channels is written
    only if a recording has several.
    """
    # Without the column, older versions of rased can read the index.
    several = any(number != 1 for number in columns.get(CHANNELS, ()))
    names = (*COLUMNS, CHANNELS) if several else COLUMNS
    lengths = {len(columns[name]) for name in names}
    assert len(lengths) == 1, "columns of unequal length"
    head = {
        "schema": SCHEMA if several else 1,
        "role": role,
        "codec": codec,
        "sample_rate": sample_rate,
        "seconds": sum(columns["frames"]) / sample_rate,
        "samples": lengths.pop(),
        "licences": list(licences),
        "attribution": attribution,
        "shards": [{"name": s.name, "bytes": s.bytes, "sha256": s.sha256} for s in shards],
    }
    encode = json.JSONEncoder(separators=(",", ":")).encode
    partial = folder / (INDEX + ".part")
    # Written piece by piece in the layout that `columns._in_pieces` reads in the same way.
    with partial.open("w") as file:
        file.write(encode(head)[:-1] + ',"columns":{')
        for number, name in enumerate(names):
            file.write(f'{"," if number else ""}"{name}":[')
            for place, value in enumerate(columns[name]):
                file.write(("," if place else "") + encode(value))
            file.write("]")
        file.write("}}\n")
    partial.replace(folder / INDEX)


def decode(
    data: bytes, codec: Codec, start: int, frames: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Decode samples [start, start + frames) of stored bytes as float32 (time,) in [-1, 1]; fewer at the end.

    If `out` is given, of that length, the samples are written into it.

    Raises:
        soundfile.LibsndfileError: the bytes cannot be decoded.
        soundfile.LibsndfileError: the bytes do not decode.
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

    def __init__(self, index: Index, *, block_mb: float = remote.BLOCK_MB) -> None:
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

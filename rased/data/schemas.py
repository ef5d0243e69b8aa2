"""What the documents of shards and test sets hold, as `rased.documents` checks it where they are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from rased import documents
from rased.data.columns import KEY, SPLIT, Kind, read_columns, read_head
from rased.documents import Count, Hash, Name, Number, SampleRate, Text, Word
from rased.errors import RasedError, shown

Role = Literal["speech", "noise", "rir"]
Codec = Literal["flac", "pcm16", "opus"]
ROLES: tuple[Role, ...] = get_args(Role)
CODECS: tuple[Codec, ...] = get_args(Codec)
LOSSLESS: tuple[Codec, ...] = ("flac", "pcm16")
SCHEMA = 2
"""Of an index: 2 where a recording has several channels, else 1."""
COLUMNS = ("key", "split", "label", "shard", "offset", "bytes", "frames", "licence", "sha256")
CHANNELS = "channels"
"""One more column, only where a recording has several of them."""
DENSEST = 6000
"""Samples that a byte of FLAC can stand for: the longest block of equal samples takes 11 bytes."""

_PIECE = 1 << 16

Frames = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
"""A number of samples."""


class Shard(msgspec.Struct, frozen=True):
    """One tar file: its name in the folder, its size in bytes and its SHA-256."""

    name: Name
    bytes: Count
    sha256: Hash


class Head(msgspec.Struct, frozen=True):
    """What an index.json says besides its columns.

    Attributes:
        role: speech, noise or rir.
        codec: flac, pcm16 (raw little-endian 16-bit samples) or opus (lossy).
        sample_rate: Hz.
        samples: rows.
        licences: the names that the column `licence` counts into.
        shards: the tar files.
        seconds: length of all samples together.
        attribution: name of the file that says who made them.
    """

    role: Role
    codec: Codec
    sample_rate: SampleRate
    samples: Count
    licences: list[Word]
    shards: list[Shard]
    seconds: Number = 0.0
    attribution: Name | None = None


class Sample(msgspec.Struct, frozen=True):
    """What {key}.json in a shard must say of a sample; it may say more."""

    key: Annotated[str, msgspec.Meta(pattern=KEY)]
    role: Role
    split: Annotated[str, msgspec.Meta(pattern=SPLIT)]
    label: Word
    sample_rate: SampleRate
    frames: Frames
    licence: Word
    channels: Annotated[int, msgspec.Meta(ge=1, le=2**16)] = 1
    source: Word = ""
    note: Text = ""
    seconds: Number = 0.0


def read_index_head(path: Path, *, repair: str) -> Head:
    """Read what an index.json says besides its columns.

    Raises:
        RasedError: it is not there, damaged, or of a newer rased.
    """
    return _head(read_head(path, repair=repair), path, repair)


def read_index_parts(
    path: Path, kinds: Mapping[str, Kind], *, repair: str
) -> tuple[Head, dict[str, NDArray[Any]]]:
    """Read an index.json: its head and its columns, which fit one another; `channels` is always among them.

    Args:
        path: of the file.
        kinds: of the columns, see `columns.Kind`.
        repair: a sentence that says what to do where it is damaged.

    Raises:
        RasedError: it is not there, damaged, of a newer rased, or its parts contradict each other.
    """
    every = {**kinds, CHANNELS: "small"}
    stored, columns = read_columns(path, every, optional=(CHANNELS,), repair=repair)
    head = _head(stored, path, repair)
    columns.setdefault(CHANNELS, np.broadcast_to(np.uint8(1), head.samples))
    wrong = _contradiction(head, columns, kinds)
    if wrong:
        raise RasedError(f"'{path}' is damaged: {wrong}. {repair}")
    return head, columns


def _head(stored: Any, path: Path, repair: str) -> Head:
    schema = stored.get("schema") if isinstance(stored, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RasedError(
            f"'{path}' has schema {shown(schema)} and this rased reads up to {SCHEMA}: upgrade rased "
            "or pack again."
        )
    head: Head = documents.fit(stored, Head, of=path, repair=repair)
    return head


def _contradiction(
    head: Head, columns: Mapping[str, NDArray[Any]], kinds: Mapping[str, Kind]
) -> str:
    """In what the columns do not fit the head or one another, "" for nothing."""
    for name, column in columns.items():
        if len(column) != head.samples:
            return f"the column '{name}' has {len(column)} rows, and `samples` is {head.samples}"
    for name, known in (("shard", head.shards), ("licence", head.licences)):
        last = int(columns[name].max(initial=0))
        if head.samples and last >= len(known):
            return f"the column '{name}' holds {last}, and there are {len(known)} {name}s"
    ends = np.array([shard.bytes for shard in head.shards] or [0])
    for start in range(0, head.samples, _PIECE):
        rows = {name: column[start : start + _PIECE] for name, column in columns.items()}
        size, frames, channels = (
            rows[name].astype(np.int64) for name in ("bytes", "frames", CHANNELS)
        )
        fits = frames <= DENSEST * size
        if head.codec == "pcm16":
            fits = 2 * frames * channels == size
        fits &= channels >= 1
        if not fits.all():
            row = int(np.argmin(fits))
            several = f" of {channels[row]} channels" if channels[row] != 1 else ""
            return f"row {start + row} has {frames[row]} samples{several} in {size[row]} bytes of {head.codec}"
        if kinds["offset"] != "length":
            inside = rows["offset"].astype(np.int64) + size <= ends[rows["shard"]]
            if not inside.all():
                row = start + int(np.argmin(inside))
                return f"row {row} ends after the {ends[columns['shard'][row]]} bytes of its shard"
    return ""

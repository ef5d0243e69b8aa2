"""Schemas of the documents in shards and test sets, and checks when they are read."""

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

Role = Literal["speech", "noise", "rir", "pairs"]
Codec = Literal["flac", "pcm16", "opus"]
ROLES: tuple[Role, ...] = get_args(Role)
PARTS: tuple[Role, ...] = ("speech", "noise", "rir")
"""Roles of recordings that mixtures are made of; `pairs` are recorded mixtures."""
CODECS: tuple[Codec, ...] = get_args(Codec)
LOSSLESS: tuple[Codec, ...] = ("flac", "pcm16")
SCHEMA = 2
"""Schema version of an index: 2 if a recording has several channels, else 1."""
COLUMNS = ("key", "split", "label", "shard", "offset", "bytes", "frames", "licence", "sha256")
CHANNELS = "channels"
"""Additional column, present only if a recording has several channels."""
DENSEST = 6000
"""Largest number of samples per byte of FLAC: the longest block of constant samples takes 11 bytes."""

_PIECE = 1 << 16

Frames = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
"""A number of samples."""


class Shard(msgspec.Struct, frozen=True):
    """One tar file: name, size in bytes, and SHA-256."""

    name: Name
    bytes: Count
    sha256: Hash


class Head(msgspec.Struct, frozen=True):
    """Content of an index.json without its columns.

    Attributes:
        role: speech, noise, rir or pairs (two channels: clean, then noisy).
        codec: flac, pcm16 (raw little-endian 16-bit samples) or opus (lossy).
        sample_rate: Hz.
        samples: number of rows.
        licences: names that the column `licence` refers to by number.
        shards: the tar files.
        seconds: total length of all samples.
        attribution: name of the file that lists the authors.
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
    """Required content of {key}.json in a shard; more is allowed."""

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
    """Read an index.json without its columns.

    Raises:
        RasedError: the file is missing, damaged, or from a newer version of rased.
    """
    return _head(read_head(path, repair=repair), path, repair)


def read_index_parts(
    path: Path, kinds: Mapping[str, Kind], *, repair: str, **collecting: Any
) -> tuple[Head, dict[str, NDArray[Any]]]:
    """Read head and columns of an index.json, and check that they are consistent; `channels` is always included.

    Args:
        path: the file.
        kinds: kinds of the columns, see `columns.Kind`.
        repair: sentence for error messages: what to do if the file is damaged.
        collecting: `column` of `read_columns`.

    Raises:
        RasedError: the file is missing, damaged, from a newer version of rased, or contradicts itself.
    """
    every = {**kinds, CHANNELS: "small"}
    stored, columns = read_columns(path, every, optional=(CHANNELS,), repair=repair, **collecting)
    head = _head(stored, path, repair)
    columns.setdefault(CHANNELS, one_channel(head))
    wrong = _contradiction(head, columns, kinds)
    if wrong:
        raise RasedError(f"'{path}' is damaged: {wrong}. {repair}")
    return head, columns


def one_channel(head: Head) -> NDArray[np.uint8]:
    """Return the column `channels` of an index without it: a view of a single 1, which takes no memory."""
    return np.broadcast_to(np.uint8(1), head.samples)


def _head(stored: Any, path: Path, repair: str) -> Head:
    schema = stored.get("schema") if isinstance(stored, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RasedError(
            f"'{path}' has schema {shown(schema)}, but this version of rased reads up to {SCHEMA}: upgrade rased "
            "or pack again."
        )
    head: Head = documents.fit(stored, Head, of=path, repair=repair)
    return head


def _contradiction(
    head: Head, columns: Mapping[str, NDArray[Any]], kinds: Mapping[str, Kind]
) -> str:
    """Return how the columns contradict the head or each other; "" if they do not."""
    for name, column in columns.items():
        if len(column) != head.samples:
            return f"the column '{name}' has {len(column)} rows, but `samples` is {head.samples}"
    for name, known in (("shard", head.shards), ("licence", head.licences)):
        last = int(columns[name].max(initial=0))
        if head.samples and last >= len(known):
            return f"the column '{name}' contains {last}, but there are only {len(known)} {name}s"
    # [0] for an index without shards, so that the array has a type.
    ends = np.array([shard.bytes for shard in head.shards] or [0])
    # Piece by piece: the comparisons need 64 bits, the columns often only 8 or 16.
    for start in range(0, head.samples, _PIECE):
        rows = {name: column[start : start + _PIECE] for name, column in columns.items()}
        size, frames, channels = (
            rows[name].astype(np.int64) for name in ("bytes", "frames", CHANNELS)
        )
        # Otherwise a small index could announce a recording that fills the memory.
        fits = frames <= DENSEST * size
        if head.codec == "pcm16":
            # Two bytes for each sample.
            fits = 2 * frames * channels == size
        fits &= channels >= 1
        if not fits.all():
            # argmin of booleans: the first False.
            row = int(np.argmin(fits))
            several = f" of {channels[row]} channels" if channels[row] != 1 else ""
            return f"row {start + row} has {frames[row]} samples{several} in {size[row]} bytes of {head.codec}"
        if kinds["offset"] != "length":
            inside = rows["offset"].astype(np.int64) + size <= ends[rows["shard"]]
            if not inside.all():
                row = start + int(np.argmin(inside))
                return f"row {row} ends after the {ends[columns['shard'][row]]} bytes of its shard"
    return ""

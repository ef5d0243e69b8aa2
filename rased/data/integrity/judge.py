"""What is wrong about a sample of a shard, and which of shard and index is right where they differ."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from rased.data.integrity.known import StoredIndex as Index
from rased.data.schemas import DENSEST, Shard
from rased.data.shards.index import INDEX
from rased.data.shards.tars import Details, StoredSample
from rased.disk import sha256

_BLOCK = 1 << 16
_REPEATED = ("split", "label", "licence", "frames")
"""What the index repeats of the json of a sample."""


def is_shards(folder: Path) -> bool:
    """Whether a folder holds shards, with an index or without."""
    return (folder / INDEX).is_file() or any(folder.glob("*.tar"))


def is_whole(path: Path, listed: Shard) -> bool:
    """Tell whether a shard is byte for byte what the index was written for."""
    return listed.bytes == path.stat().st_size and listed.sha256 == sha256(path)


def head_of(stored: Index | None) -> dict[str, Any]:
    """Return what an index says of all its samples."""
    return (
        {} if stored is None else {"role": stored.head.role, "sample_rate": stored.head.sample_rate}
    )


def judge(
    stored: StoredSample, digest: str, row: Mapping[str, Any] | None, head: Mapping[str, Any]
) -> tuple[Details, str]:
    """Return the json of a sample as it should be, and why the sample cannot be used, "" where it is good.

    Args:
        stored: the sample.
        digest: of its audio.
        row: of the index where the shard is not the one that the index was written for: its json may be
            damaged as well, so where the audio is that of the row, the row tells what the json said.
        head: of that index.
    """
    details = stored.details
    if row is not None and row["sha256"] == digest:
        details = {**details, **head, **{name: row[name] for name in _REPEATED}}
        if row.get("channels", 1) != details.get("channels", 1):
            details["channels"] = row["channels"]
        if "seconds" in details:
            details["seconds"] = round(details["frames"] / details["sample_rate"], 3)
    return details, _damage(stored._replace(details=details), digest, row)


def altered(json_says: Details, should: Details) -> str:
    """Return in what the json of a good sample is damaged, "" for nothing."""
    differs = [name for name in should if json_says.get(name) != should[name]]
    if not differs:
        return ""
    return "its json says " + ", ".join(
        f"{name} {json_says.get(name)!r}, the index {should[name]!r}" for name in differs
    )


def _damage(stored: StoredSample, digest: str, row: Mapping[str, Any] | None) -> str:
    """Return why a sample cannot be used, "" where it is good."""
    if row is not None and row["sha256"] != digest:
        return "its bytes are not those that were packed (sha256)"
    channels = stored.details.get("channels", 1)
    try:
        frames, there = _frames(stored)
    except soundfile.LibsndfileError as error:
        return f"it does not decode ({error.error_string.strip().rstrip('.')})"
    promised = stored.details["frames"]
    if there != channels:
        return f"it has {there} channels, not {channels}"
    return "" if frames == promised else f"it has {frames:g} samples, not {promised}"


def _frames(stored: StoredSample) -> tuple[int | float, int]:
    """Samples and channels that are there, decoded a piece at a time: a header may promise any number."""
    if stored.codec == "pcm16":
        channels = stored.details.get("channels", 1)
        return len(stored.audio) / 2 / channels, channels
    with soundfile.SoundFile(io.BytesIO(stored.audio)) as file:
        if file.frames > DENSEST * len(stored.audio):
            return file.frames, file.channels
        blocks = file.blocks(_BLOCK, dtype="int16")
        return sum(len(block) for block in blocks), file.channels

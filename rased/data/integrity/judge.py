"""Find out what is wrong with a sample of a shard, and whether shard or index is right if they differ."""

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
"""Fields of a sample's JSON that the index repeats."""


def is_shards(folder: Path) -> bool:
    """Return whether a folder contains shards, with or without an index."""
    return (folder / INDEX).is_file() or any(folder.glob("*.tar"))


def is_whole(path: Path, listed: Shard) -> bool:
    """Return whether a shard is byte for byte the one that the index was written for."""
    return listed.bytes == path.stat().st_size and listed.sha256 == sha256(path)


def head_of(stored: Index | None) -> dict[str, Any]:
    """Return the fields of an index that apply to all its samples."""
    return (
        {} if stored is None else {"role": stored.head.role, "sample_rate": stored.head.sample_rate}
    )


def judge(
    stored: StoredSample, digest: str, row: Mapping[str, Any] | None, head: Mapping[str, Any]
) -> tuple[Details, str]:
    """Return the correct JSON of a sample, and why the sample cannot be used ("" if it is good).

    Args:
        stored: the sample.
        digest: SHA-256 of its audio.
        row: row of the index if the shard is not the one that the index was written for. Then the sample's JSON may be
            damaged; if the audio matches the row, the row is used instead of the JSON.
        head: fields of that index.
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
    """Return how the JSON of a good sample is damaged; "" if it is not."""
    differs = [name for name in should if json_says.get(name) != should[name]]
    if not differs:
        return ""
    return "its json says " + ", ".join(
        f"{name} {json_says.get(name)!r}, the index {should[name]!r}" for name in differs
    )


def _damage(stored: StoredSample, digest: str, row: Mapping[str, Any] | None) -> str:
    """Return why a sample cannot be used; "" if it is good."""
    if row is not None and row["sha256"] != digest:
        return "its bytes have changed since packing (sha256)"
    channels = stored.details.get("channels", 1)
    try:
        frames, there = _frames(stored)
    except soundfile.LibsndfileError as error:
        return f"it cannot be decoded ({error.error_string.strip().rstrip('.')})"
    promised = stored.details["frames"]
    if there != channels:
        return f"it has {there} channels, not {channels}"
    return "" if frames == promised else f"it has {frames:g} samples, not {promised}"


def _frames(stored: StoredSample) -> tuple[int | float, int]:
    """Return the actual samples and channels, decoded in pieces: a header may announce any number."""
    if stored.codec == "pcm16":
        channels = stored.details.get("channels", 1)
        # Not an integer if a sample is cut in the middle, which then differs from the promised number.
        return len(stored.audio) / 2 / channels, channels
    with soundfile.SoundFile(io.BytesIO(stored.audio)) as file:
        # Impossible for so few bytes: do not decode.
        if file.frames > DENSEST * len(stored.audio):
            return file.frames, file.channels
        blocks = file.blocks(_BLOCK, dtype="int16")
        return sum(len(block) for block in blocks), file.channels

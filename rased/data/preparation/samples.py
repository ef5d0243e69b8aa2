"""What is packed of one file: its metadata and its audio."""

from collections.abc import Mapping
from typing import Any

from rased.audio import BadAudioError, printable
from rased.data.corpora.listing import SourceFile
from rased.data.preparation.encoding import MOST_CHANNELS, encode_blocks
from rased.data.preparation.pairing import Pair, Pairing
from rased.data.preparation.responses import describe
from rased.data.preparation.waveform import Decoded, decode
from rased.data.schemas import Role
from rased.data.shards import opus
from rased.data.shards.folder import Skipped
from rased.data.shards.tars import Details
from rased.disk import sha256

Attempt = tuple[Details, bytes, str] | Skipped
"""Metadata, audio and warning of a file that was packed, or why it was skipped."""
_BYTES = 8e6
"""Bytes of files in a task: a small part of the memory of a node."""


def attempt(source: SourceFile, *, request: Mapping[str, Any], paired: Pairing | None) -> Attempt:
    """Return `sample`; of a file that cannot be packed, the reason: an exception would end the run."""
    try:
        return sample(source, request, paired)
    except BadAudioError as error:
        return Skipped(printable(source.path), error.reason)


def share_of_task(source: SourceFile) -> float:
    """Return the share of a task that a file is: 16 files, or some megabytes, are worth one."""
    return 1 / 16 + source.bytes / _BYTES


def sample(
    source: SourceFile, request: Mapping[str, Any], paired: Pairing | None
) -> tuple[Details, bytes, str]:
    """Return the metadata and audio of a recording, and a warning about its file.

    Args:
        source: the file; of a pair, the clean one.
        request: role, codec, sample_rate, and keep_channels and kbits where they matter.
        paired: finds the noisy file of a pair.

    Raises:
        BadAudioError: the file cannot be packed.
    """
    codec, sample_rate = request["codec"], request["sample_rate"]
    pair = _read(source, request, paired)
    decoded = pair.decoded
    if decoded.channels > MOST_CHANNELS[codec]:
        raise BadAudioError(
            source.file,
            f"has {decoded.channels} channels; {codec} allows {MOST_CHANNELS[codec]}, pcm16 any number (--codec)",
        )
    data = encode_blocks(
        decoded.blocks(),
        codec,
        sample_rate,
        request.get("kbits", opus.USUAL),
        channels=decoded.channels,
    )
    details = _details(source, decoded, request["role"], sample_rate)
    if paired is not None:
        details["delay_ms"] = None if pair.delay_ms is None else round(pair.delay_ms, 4)
    return details, data, "; ".join(filter(None, (decoded.remark, pair.remark)))


def _read(source: SourceFile, request: Mapping[str, Any], paired: Pairing | None) -> Pair:
    """Read a recording, alone or with its noisy file.

    Raises:
        BadAudioError: it cannot be read, or is not the one that the manifest means.
    """
    try:
        if source.sha256 and sha256(source.file) != source.sha256:
            raise BadAudioError(
                source.file,
                "was changed: its sha256 is not that of the manifest",
            )
    except OSError:
        pass  # decoding will report why it cannot be read
    sample_rate = request["sample_rate"]
    if paired is not None:
        return paired.decode(source, sample_rate)
    keep = request.get("keep_channels", False)
    return Pair(
        decode(source.file, sample_rate=sample_rate, role=request["role"], keep_channels=keep)
    )


def _details(source: SourceFile, decoded: Decoded, role: Role, sample_rate: int) -> Details:
    details = {
        "key": source.key,
        "role": role,
        "split": source.split,
        "label": source.label,
        "sample_rate": sample_rate,
        "frames": decoded.frames,
        "seconds": round(decoded.frames / sample_rate, 3),
        "licence": source.licence,
        "source": source.source,
        "path": printable(source.path),
        "note": "; ".join(part for part in (source.note, decoded.note) if part),
        "gain_db": decoded.gain_db,
        **({"channels": decoded.channels} if decoded.channels > 1 else {}),
    }
    if role == "rir":
        samples = decoded.samples
        # The first channel is the reference of an array.
        first = samples if decoded.channels == 1 else samples[:, 0]
        details |= describe(first, sample_rate=sample_rate)
    return details

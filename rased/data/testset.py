"""The file that makes a folder a frozen test set, testset.json: read, checked, and put in place with its audio."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rased import documents
from rased.data.schemas import Role
from rased.documents import Count, Hash, Name, Number, SampleRate, Text, Word
from rased.errors import RasedError, shown

SCHEMA = 1
TESTSET = "testset.json"

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Mixture(msgspec.Struct, frozen=True):
    """One utterance of a frozen set: its files are noisy/ID.flac and target/ID.flac."""

    id: Name
    sha256_noisy: Hash
    sha256_target: Hash
    seconds: Seconds = 0.0
    condition: Word | None = None
    snr_db: Number | None = None
    speech: Word | None = None
    speaker: Word | None = None
    noise: Word | None = None
    noise_type: Word | None = None
    rir: Word | None = None
    room: Word | None = None
    t60: Number | None = None
    drr_db: Number | None = None
    text: Text | None = None


class Frozen(msgspec.Struct, frozen=True):
    """What a testset.json holds.

    Attributes:
        name: how results call the set.
        sample_rate: Hz of its files.
        count: of the items.
        target: what the target is.
        list_sha256: fingerprint of the items, see `list_sha256`.
        items: the utterances.
        early_ms: end of the early reflections, for the target "early".
        seed: of the recipe; None for a set that was not drawn.
        contents: role -> key of a recording -> what data manifests may hold of it.
        request_sha256: what the set was asked for with, of a set that comes with a corpus.
    """

    name: Name
    sample_rate: SampleRate
    count: Count
    target: Word
    list_sha256: Hash
    items: Annotated[list[Mixture], msgspec.Meta(min_length=1)]
    early_ms: Number | None = None
    seed: Count | None = None
    contents: dict[Role, dict[Word, list[Word]]] | None = None
    request_sha256: Hash | None = None

    def __post_init__(self) -> None:
        """Check what concerns several fields."""
        if self.target == "early" and self.early_ms is None:
            raise ValueError("Expected `early_ms` beside the target 'early'")
        ids = [item.id for item in self.items]
        if len(set(ids)) != len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise ValueError(f"Expected each id once, not {shown(twice)} again")


def read(folder: Path) -> Frozen:
    """Read FOLDER/testset.json.

    Raises:
        RasedError: it is not there, damaged, or of another schema.
    """
    path = folder / TESTSET
    repair = "Get the test set again, or freeze it again with its seed and recipe."
    content = documents.plain(documents.read_bytes(path, repair=repair), of=path, repair=repair)
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        raise RasedError(
            f"'{path}' has schema {shown(schema)} and this rased reads {SCHEMA}: update rased, or "
            "freeze the set again."
        )
    found: Frozen = documents.fit(content, Frozen, of=path, repair=repair)
    return found


def list_sha256(items: Iterable[Mapping[str, Any]]) -> str:
    """Return the fingerprint of a test set: SHA-256 over "id sha256_noisy sha256_target" lines."""
    lines = (f"{item['id']} {item['sha256_noisy']} {item['sha256_target']}\n" for item in items)
    return hashlib.sha256("".join(lines).encode()).hexdigest()

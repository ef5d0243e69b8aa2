"""Read and check testset.json, the file that describes a frozen test set, and install it with its audio."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from rased import documents
from rased.data.schemas import Role
from rased.documents import Count, Hash, Name, Number, SampleRate, Text, Word
from rased.errors import RasedError, shown
from rased.names import is_plain

SCHEMA = 1
TESTSET = "testset.json"
ENROLMENT = "enrolment"
"""Name of the condition that mixtures and frozen sets can have: another utterance of the same speaker."""
GIVEN = "conditions"
"""Folder of a test set with additional inputs of models: conditions/NAME/ID.flac."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Mixture(msgspec.Struct, frozen=True):
    """One utterance of a frozen set, with the files noisy/ID.flac, target/ID.flac and conditions/NAME/ID.flac.

    Attributes:
        sha256_conditions: SHA-256 of the files of the conditions, by name.
        enrolment: recording from which the condition "enrolment" was taken.
    """

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
    sha256_conditions: dict[Word, Hash] | None = None
    enrolment: Word | None = None

    @property
    def files(self) -> dict[str, str]:
        """Return path (relative to the folder of the set) -> SHA-256."""
        given = {f"{GIVEN}/{name}": digest for name, digest in self.given.items()}
        parts = {"noisy": self.sha256_noisy, "target": self.sha256_target, **given}
        return {f"{part}/{self.id}.flac": digest for part, digest in parts.items()}

    @property
    def given(self) -> dict[str, str]:
        """Return the SHA-256 of the files of the conditions, by name."""
        return self.sha256_conditions or {}


class Frozen(msgspec.Struct, frozen=True):
    """Content of a testset.json.

    Attributes:
        name: name of the set in results.
        sample_rate: sample rate of its files in Hz.
        count: number of items.
        target: kind of target.
        list_sha256: fingerprint of the items, see `list_sha256`.
        items: the utterances.
        early_ms: end of the early reflections in ms, for the target "early".
        seed: seed of the recipe; None for a set that was not drawn.
        contents: role -> key of a recording -> its content hash, as in data manifests.
        request_sha256: hash of the request that made a set of a public corpus.
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
        """Check conditions that involve several fields."""
        if self.target == "early" and self.early_ms is None:
            raise ValueError("Expected `early_ms` with the target 'early'")
        ids = [item.id for item in self.items]
        if len(set(ids)) != len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise ValueError(f"Expected each id once, not {shown(twice)} again")
        first = self.items[0].given.keys()
        for name in first:
            if not is_plain(name):
                raise ValueError(f"Expected letters, digits, '.', '_' and '-' in {shown(name)}")
        other = next((item.id for item in self.items if item.given.keys() != first), None)
        if other is not None:
            raise ValueError(
                f"Expected the same conditions everywhere, not others of {shown(other)}"
            )


def read(folder: Path) -> Frozen:
    """Read FOLDER/testset.json.

    Raises:
        RasedError: the file is missing, damaged, or has another schema.
    """
    path = folder / TESTSET
    repair = "Get the test set again, or freeze it again with its seed and recipe."
    content = documents.plain(documents.read_bytes(path, repair=repair), of=path, repair=repair)
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        raise RasedError(
            f"'{path}' has schema {shown(schema)}, but this version of rased reads {SCHEMA}: update rased, or "
            "freeze the set again."
        )
    found: Frozen = documents.fit(content, Frozen, of=path, repair=repair)
    return found


def list_sha256(items: Iterable[Mapping[str, Any]]) -> str:
    """Return the fingerprint of a test set: SHA-256 over lines of "id sha256_noisy sha256_target".

    With conditions, each line continues with "name sha256" of each condition, sorted by name.
    """
    lines = []
    for item in items:
        words = [item["id"], item["sha256_noisy"], item["sha256_target"]]
        # Further words only for sets with conditions: the fingerprints of older sets stay.
        for pair in sorted((item.get("sha256_conditions") or {}).items()):
            words += pair
        lines.append(" ".join(words) + "\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()

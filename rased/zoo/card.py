"""The card of a checkpoint: plain YAML; every field is checked before anything else is read."""

import re
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from rased import documents, names, yaml_reader
from rased.building import check_size
from rased.documents import Count, Number, SampleRate, Text, Word
from rased.errors import RasedError, nearest, shown

# Renamed to itself: what reads cards imports it from here.
from rased.shelves import CARD as CARD

SCHEMA = 1
WEIGHTS = "model.safetensors"
GOLDEN = "golden.safetensors"
CONDITION = "condition."
"""Prefix of the names of conditions in the golden output."""
MANIFEST = "manifest.json"
MANIFEST_SHA256 = "manifest_sha256"
"""Key in the metadata of the weights: SHA-256 of the manifest of their training data."""


class _Training(TypedDict, total=False):
    """Checked fields of `training`; other fields are allowed."""

    audio_hours: Number | None
    steps: Count | None
    epochs: Count | None
    command: Text
    not_repeatable: Text
    data_unknown_of: list[Word]
    manifest: Word
    versions: dict[Word, Word]
    git: Word | None
    imported: dict[Word, Text]


FIELDS: dict[str, Any] = {
    "schema": Count,
    "name": Word,
    "summary": Word,
    "enhancer": dict[str, Any],
    "sample_rate": SampleRate,
    "latency": Count | None,
    "algorithmic_latency": Count | None,
    "buffering": Count | None,
    "causal": bool,
    "parameters": Count,
    "macs_per_second": Count | None,
    "files": dict[str, Any],
    "licence": dict[Word, Any],
    "paper": Text,
    "training": _Training,
    "scores": dict[Word, dict[Word, Number | None]],
}
"""Required fields of a card with their types; None stands for an empty value.

schema: version of this table. name: name of the folder. summary: one line. enhancer: class_path
and init_args. sample_rate: Hz. latency: samples by which the output of a stream lags its
input. algorithmic_latency: samples of window and look-ahead. buffering: samples of the hop; the sum of the last two is
the latency of the DNS Challenge. All three are empty for a model that needs the whole utterance. parameters: their
number, frozen ones included. macs_per_second: multiply-accumulates for one second of audio; empty if not counted.
files: name -> SHA-256 of each file of the entry except the card. licence: of code, weights and data. paper: of the
architecture. training: how the weights were made. scores: test set -> metric -> value.
"""

OPTIONAL: dict[str, Any] = {"purpose": Word}
"""Optional fields of a card. purpose: what the checkpoint removes, in a few words."""

_Card: Any = TypedDict(
    "_Card", FIELDS | {name: NotRequired[kind] for name, kind in OPTIONAL.items()}
)

RESERVED = (CARD, "source.txt")
"""Reserved names that no file of an entry may have."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST_CARD = 256 << 10
_MOST_FILES = 100
_LICENCE = dict[str, list[Word]]
_REPAIR = "Get the checkpoint again, or publish it again."


def read_card(folder: Path) -> dict[str, Any]:
    """Read and check FOLDER/card.yaml.

    Raises:
        RasedError: no card, not YAML, or `check_card` rejects it.
    """
    path = folder / CARD
    if not path.is_file():
        raise RasedError(f"'{folder}' has no {CARD}; give the folder of a zoo entry.")
    content = documents.read_bytes(path, repair=_REPAIR, largest=_LARGEST_CARD)
    return parse_card(content, where=f"'{path}'")


def parse_card(content: bytes, *, where: str) -> dict[str, Any]:
    """Parse and check a card; `where` is its name in error messages.

    Raises:
        RasedError: not YAML, or `check_card` rejects it.
    """
    card = yaml_reader.parse(content, of=where, largest=_LARGEST_CARD)
    check_card(card, where=where)
    return dict(card)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Check a card and write it as FOLDER/card.yaml."""
    check_card(card, where=f"the card of '{card.get('name')}'")
    (folder / CARD).write_text(yaml_reader.dump(card), encoding="utf-8")


def check_card(card: Any, *, where: str) -> None:
    """Check schema, fields, types, sizes, and the names of the files.

    Raises:
        RasedError: a field is wrong; the message names it and what it should hold.
    """
    if not isinstance(card, dict) or "schema" not in card:
        raise RasedError(f"{where} is not a card: the field 'schema' is missing.")
    schema = card["schema"]
    # Not isinstance: True is an int for Python.
    if type(schema) is not int or schema < 1:
        raise RasedError(f"{where} has schema {shown(schema)}; it must be a number, 1 or more.")
    if schema > SCHEMA:
        raise RasedError(
            f"{where} has schema {schema}, but this version of rased reads up to {SCHEMA}; update it: "
            f"pip install --upgrade rased."
        )
    missing = [field for field in FIELDS if field not in card]
    if missing:
        raise RasedError(f"{where}: the field '{missing[0]}' is missing; add it, or publish again.")
    for field, value in card.items():
        if field not in FIELDS | OPTIONAL:
            known = nearest(str(field), FIELDS | OPTIONAL)
            raise RasedError(f"{where} has an unknown field {shown(field)}; {known}")
        check_size(value, f"{where}: field '{field}'")
    documents.fit(card, _Card, of=where.strip("'"), repair=_REPAIR)
    names.plain(card["name"], what=f"the name in {where}")
    if not isinstance(card["enhancer"].get("class_path"), str):
        raise RasedError(f"{where}: field 'enhancer' needs a class_path and init_args.")
    # A stream has all three latencies and a whole-file model has none: anything between is a mistake.
    times = {name: card[name] for name in ("latency", "algorithmic_latency", "buffering")}
    if len({value is None for value in times.values()} | {not card["causal"]}) > 1:
        raise RasedError(
            f"{where}: latency, algorithmic_latency and buffering must be numbers if causal is true, and empty if "
            "it is false."
        )
    _check_licence(card["licence"], where)
    _check_files(card["files"], where)


def _check_licence(licence: dict[str, Any], where: str) -> None:
    """Check licences: each is one line, or a list of lines (msgspec 0.22 cannot check such a union)."""
    for name, value in licence.items():
        lines = value if isinstance(value, list) else [value]
        documents.fit({f"licence.{name}": lines}, _LICENCE, of=where.strip("'"), repair=_REPAIR)


def _check_files(files: dict[str, Any], where: str) -> None:
    for needed in (WEIGHTS, GOLDEN):
        if needed not in files:
            raise RasedError(f"{where}: '{needed}' is missing from the field 'files'.")
    if len(files) > _MOST_FILES:
        raise RasedError(f"{where} lists {len(files)} files; an entry has at most {_MOST_FILES}.")
    for name, digest in files.items():
        names.plain(name, what=f"a file's name in {where}")
        if name in RESERVED:
            raise RasedError(f"{where}: the file name '{name}' is reserved.")
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise RasedError(
                f"{where}: the SHA-256 of '{name}' is {shown(digest)}; it must be 64 hexadecimal digits."
            )

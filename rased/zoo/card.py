"""The card of a checkpoint: plain YAML, checked field by field before anything else is looked at."""

import re
from pathlib import Path
from typing import Any

import yaml

from rased.errors import RasedError, nearest

SCHEMA = 1
CARD = "card.yaml"
WEIGHTS = "model.safetensors"
GOLDEN = "golden.safetensors"
MANIFEST = "manifest.json"
MANIFEST_SHA256 = "manifest_sha256"
"""In the metadata of the weights: the manifest of the data that they were trained on."""

FIELDS: dict[str, tuple[type | None, ...]] = {
    "schema": (int,),
    "name": (str,),
    "summary": (str,),
    "enhancer": (dict,),
    "sample_rate": (int,),
    "latency": (int, None),
    "algorithmic_latency": (int, None),
    "buffering": (int, None),
    "causal": (bool,),
    "parameters": (int,),
    "macs_per_second": (int, None),
    "files": (dict,),
    "licence": (dict,),
    "paper": (str,),
    "training": (dict,),
    "scores": (dict,),
}
"""Every field that a card has, and what it may hold; None stands for an empty value.

schema: version of this table. name: the name of the folder. summary: one line. enhancer: class_path
below rased.models, and init_args. sample_rate: Hz. latency: samples by which a stream's output lags its
input. algorithmic_latency: samples of window and look-ahead. buffering: samples of the hop; the two together are
the latency of the DNS Challenge. All three are empty for a model that needs the whole utterance. parameters:
numbers that training could move. macs_per_second:
multiply-accumulates for a second of audio; empty where not counted. files: name -> SHA-256 of each
file of the entry but the card. licence: of code, weights and data. paper: of the architecture.
training: how the weights came about. scores: test set -> metric -> value.
"""

_CLASSES = "rased.models."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST_CARD = 1 << 20


def read_card(folder: Path) -> dict[str, Any]:
    """Read and check FOLDER/card.yaml.

    Raises:
        RasedError: no card, no YAML, or `check_card` refuses it.
    """
    path = folder / CARD
    if not path.is_file():
        raise RasedError(f"there is no {CARD} in '{folder}'; name the folder of a zoo entry.")
    if path.stat().st_size > _LARGEST_CARD:
        raise RasedError(f"'{path}' is no card: it is larger than {_LARGEST_CARD >> 20} MB.")
    return parse_card(path.read_bytes(), where=f"'{path}'")


def parse_card(content: bytes, *, where: str) -> dict[str, Any]:
    """Parse and check a card; `where` names it in messages.

    Raises:
        RasedError: no YAML, or `check_card` refuses it.
    """
    try:
        card = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise RasedError(f"{where} is no YAML that can be read: {reason}") from None
    check_card(card, where=where)
    return dict(card)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Check a card and write it as FOLDER/card.yaml."""
    check_card(card, where=f"the card of '{card.get('name')}'")
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100)
    (folder / CARD).write_text(text, encoding="utf-8")


def check_card(card: Any, *, where: str) -> None:
    """Check schema, fields, types, the class and the names of the files.

    Raises:
        RasedError: with the field and what it should hold.
    """
    if not isinstance(card, dict) or "schema" not in card:
        raise RasedError(f"{where} is no card: it has no field 'schema'.")
    schema = card["schema"]
    if not isinstance(schema, int) or schema < 1:
        raise RasedError(f"{where} has schema {schema!r}; it must be a number from 1.")
    if schema > SCHEMA:
        raise RasedError(
            f"{where} has schema {schema} and this rased reads up to {SCHEMA}; update it: "
            f"pip install --upgrade rased."
        )
    missing = [field for field in FIELDS if field not in card]
    if missing:
        raise RasedError(f"{where} lacks the field '{missing[0]}'; add it or publish again.")
    for field, value in card.items():
        if field not in FIELDS:
            raise RasedError(f"{where} has a field '{field}'; {nearest(str(field), FIELDS)}")
        _check_type(field, value, where)
    if not _NAME.fullmatch(card["name"]):
        raise RasedError(
            f"{where} has the name '{card['name']}'; allowed: letters, digits, '.', '_' and '-'."
        )
    _check_class(card["enhancer"], where)
    _check_files(card["files"], where)


def _check_type(field: str, value: Any, where: str) -> None:
    allowed = FIELDS[field]
    if value is None and None in allowed:
        return
    # A bool is an int to Python, and not to a card.
    if any(kind is not None and type(value) is kind for kind in allowed):
        return
    names = " or ".join("nothing" if kind is None else kind.__name__ for kind in allowed)
    raise RasedError(f"{where}: field '{field}' must hold {names}, and holds {value!r}.")


def _check_class(enhancer: dict[str, Any], where: str) -> None:
    path = enhancer.get("class_path")
    if not isinstance(path, str):
        raise RasedError(f"{where}: field 'enhancer' needs a class_path and init_args.")
    if not path.startswith(_CLASSES):
        raise RasedError(
            f"{where} asks for the class '{path}'; only models below {_CLASSES.rstrip('.')} are "
            f"built from a card."
        )


def _check_files(files: dict[str, Any], where: str) -> None:
    for needed in (WEIGHTS, GOLDEN):
        if needed not in files:
            raise RasedError(f"{where}: field 'files' lacks '{needed}'.")
    for name, digest in files.items():
        if not _NAME.fullmatch(str(name)) or name == CARD:
            raise RasedError(f"{where}: '{name}' is no name for a file of a zoo entry.")
        if not _SHA256.fullmatch(str(digest)):
            raise RasedError(f"{where}: the SHA-256 of '{name}' is not 64 hexadecimal digits.")

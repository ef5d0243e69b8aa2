"""Figures of the architectures that take minutes to obtain: read from figures.json, never guessed.

The file has three parts. `parity` is written by `python -m tests.models.parity.table` from the recorded outputs of the
authors' code. `measured` is written by `rased bench models --out rased/models/figures.json`. `learned` is written by
`python experiments/0013-box-by-box/run.py table`: scores after a training of ten CPU minutes. Rows of the last two
carry the hash of their configuration, so a row that no longer fits is not shown; a test reports it.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")


def config_sha256(config: Mapping[str, Any]) -> str:
    """Return the hash of the section `model` of a configuration."""
    plain = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def read(file: Path = FILE) -> dict[str, dict[str, Any]]:
    """Return all parts of a file; empty parts if there is no such file."""
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {"parity": {}, "measured": {}, "learned": {}, **content}


@lru_cache(maxsize=1)
def _own() -> dict[str, dict[str, Any]]:
    return read()


def measured(name: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the measured figures of an architecture; None if there are none for this configuration."""
    return _fitting("measured", name, config)


def learned(name: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an architecture learned in ten CPU minutes; None if this configuration was not trained so."""
    return _fitting("learned", name, config)


def _fitting(part: str, name: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    row = _own()[part].get(name)
    return row if row and row["config_sha256"] == config_sha256(config) else None


def parity(name: str) -> dict[str, Any] | None:
    """Return where the authors' code is, and the largest difference to its output on the same weights.

    A recording belongs to the class of the network: those of "bsrnn" are returned for "bsrnn-offline-small", too. None
    if the authors' code has not been run.
    """
    recorded = _own()["parity"]
    # The longest name wins: "dprnn-causal" is a kind of "dprnn".
    kin = [one for one in recorded if name == one or name.startswith(f"{one}-")]
    return recorded[max(kin, key=len)] if kin else None

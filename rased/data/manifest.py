"""The training data of weights: manifest.json, {split: {role: Corpus.manifest()}}, and what is unknown about it.

A run that starts from other weights merges their manifest into its own. If the training data of those weights
are unknown, the manifest lists them under `unknown`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from rased import documents
from rased.documents import Count, Number, Word

UNKNOWN = "unknown"
"""Key of a manifest, next to its splits: names of checkpoints with unknown training data."""


class _Needed(TypedDict):
    recordings: Count
    hours: Number
    sha256: Word


class _Part(_Needed, total=False):
    """Manifest entry for one role of one split."""

    licences: list[Word]
    labels: list[Word]
    keys: list[Word]
    contents: list[Word]


_SPLITS = dict[str, dict[str, _Part]]
_UNKNOWN = dict[str, list[Word]]
_REPAIR = "Get the checkpoint or the run again."


def read(content: bytes, *, of: Path) -> dict[str, Any]:
    """Parse a manifest of a checkpoint or a run.

    Args:
        content: content of manifest.json.
        of: path of the file, for error messages.

    Raises:
        RasedError: not a valid manifest.
    """
    manifest = documents.plain(content, of=of, repair=_REPAIR)
    documents.fit(manifest, dict[str, Any], of=of, repair=_REPAIR)
    # Two schemas, because a typed dictionary cannot have one value of another type.
    parts = {name: roles for name, roles in manifest.items() if name != UNKNOWN}
    documents.fit(parts, _SPLITS, of=of, repair=_REPAIR)
    documents.fit({UNKNOWN: manifest.get(UNKNOWN, [])}, _UNKNOWN, of=of, repair=_REPAIR)
    return dict(manifest)


def splits(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the splits of a manifest, each role -> `Corpus.manifest()`."""
    return {name: dict(roles) for name, roles in manifest.items() if name != UNKNOWN}


def unknown(manifest: Mapping[str, Any]) -> list[str]:
    """Return the names of the checkpoints that the weights started from and whose training data are unknown."""
    return [str(name) for name in manifest.get(UNKNOWN, ())]

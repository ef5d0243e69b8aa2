"""What weights have heard: manifest.json, {split: {role: Corpus.manifest()}}, and what nobody knows of it.

A run that starts from the weights of another joins their manifest. Where those weights do not say what they
were trained on, the manifest lists them under `unknown`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from rased import documents
from rased.documents import Count, Number, Word

UNKNOWN = "unknown"
"""Key of a manifest beside its splits: names of the checkpoints whose training data are not known."""


class _Needed(TypedDict):
    recordings: Count
    hours: Number
    sha256: Word


class _Part(_Needed, total=False):
    """What a manifest says of one role of one split."""

    licences: list[Word]
    labels: list[Word]
    keys: list[Word]
    contents: list[Word]


_SPLITS = dict[str, dict[str, _Part]]
_UNKNOWN = dict[str, list[Word]]
_REPAIR = "Get the checkpoint or the run again."


def read(content: bytes, *, of: Path) -> dict[str, Any]:
    """Parse a manifest that came with a checkpoint or a run.

    Args:
        content: of manifest.json.
        of: its file, for the message.

    Raises:
        RasedError: it is not one.
    """
    manifest = documents.plain(content, of=of, repair=_REPAIR)
    documents.fit(manifest, dict[str, Any], of=of, repair=_REPAIR)
    parts = {name: roles for name, roles in manifest.items() if name != UNKNOWN}
    documents.fit(parts, _SPLITS, of=of, repair=_REPAIR)
    documents.fit({UNKNOWN: manifest.get(UNKNOWN, [])}, _UNKNOWN, of=of, repair=_REPAIR)
    return dict(manifest)


def splits(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The splits of a manifest, each role -> `Corpus.manifest()`."""
    return {name: dict(roles) for name, roles in manifest.items() if name != UNKNOWN}


def unknown(manifest: Mapping[str, Any]) -> list[str]:
    """Names of the checkpoints that the weights began as and whose training data nobody knows."""
    return [str(name) for name in manifest.get(UNKNOWN, ())]

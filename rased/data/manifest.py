"""What weights have heard: manifest.json, {split: {role: Corpus.manifest()}}, and what nobody knows of it.

A run that starts from the weights of another joins their manifest. Where those weights do not say what they
were trained on, the manifest lists them under `unknown`.
"""

from collections.abc import Mapping
from typing import Any

UNKNOWN = "unknown"
"""Key of a manifest beside its splits: names of the checkpoints whose training data are not known."""


def splits(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The splits of a manifest, each role -> `Corpus.manifest()`."""
    return {name: dict(roles) for name, roles in manifest.items() if name != UNKNOWN}


def unknown(manifest: Mapping[str, Any]) -> list[str]:
    """Names of the checkpoints that the weights began as and whose training data nobody knows."""
    return [str(name) for name in manifest.get(UNKNOWN, ())]

"""Corpora, shards and mixtures: what is drawn, read and mixed."""

from typing import Any

from rased.exports import Homes, fetch, names_of

_HOMES: Homes = {
    "corpus": ("Corpus",),
    "plan": (
        "Drawn",
        "Piece",
        "Plan",
        "Scene",
    ),
    "mixing": (
        "Mixer",
        "Mixing",
    ),
    "distortions": (
        "BandLimit",
        "Clipping",
        "Codec",
        "Distortions",
        "Microphone",
        "PacketLoss",
        "Wind",
    ),
    "sample": (
        "Batch",
        "FrameBatch",
        "Mixture",
    ),
    "datamodule": ("MixtureDataModule",),
    "frames_datamodule": ("FramesDataModule",),
    "frames": ("FrameFile",),
}
__all__ = names_of(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    return fetch(__name__, name, _HOMES)


def __dir__() -> list[str]:
    """What there is."""
    return names_of(_HOMES)

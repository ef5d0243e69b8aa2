"""Corpora, shards and mixtures: what is drawn, read and mixed."""

from typing import Any

from rased.exports import Homes, fetch, names_of

_HOMES: Homes = {
    "mixtures.corpus": ("Corpus",),
    "mixtures.plan": (
        "Drawn",
        "Piece",
        "Plan",
        "Scene",
    ),
    "mixtures.mixing": (
        "Mixer",
        "Mixing",
    ),
    "mixtures.distortions": (
        "BandLimit",
        "Clipping",
        "Codec",
        "Distortions",
        "Microphone",
        "PacketLoss",
        "Wind",
    ),
    "mixtures.sample": (
        "Batch",
        "FrameBatch",
        "Mixture",
    ),
    "datamodule": ("MixtureDataModule",),
    "frames.datamodule": ("FramesDataModule",),
    "frames.file": ("FrameFile",),
}
__all__ = names_of(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    return fetch(__name__, name, _HOMES)


def __dir__() -> list[str]:
    """What there is."""
    return names_of(_HOMES)

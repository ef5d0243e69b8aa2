"""Corpora, shards and mixtures: what is drawn, read and mixed."""

from rased.exports import Homes, lazily

_HOMES: Homes = {
    "mixtures.corpus": ("Corpus",),
    "mixtures.drawn": (
        "Drawn",
        "Piece",
    ),
    "mixtures.plan": (
        "Plan",
        "Scene",
    ),
    "mixtures.mixing": (
        "Mixer",
        "Mixing",
    ),
    "mixtures.distortions": ("Distortions",),
    "mixtures.kinds": (
        "BandLimit",
        "Clipping",
        "Codec",
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
__all__, __getattr__, __dir__ = lazily(__name__, _HOMES)

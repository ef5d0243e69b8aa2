"""Corpora, shards and mixtures: what is drawn, read and mixed."""

from rased.exports import Homes, lazily

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
__all__, __getattr__, __dir__ = lazily(__name__, _HOMES)

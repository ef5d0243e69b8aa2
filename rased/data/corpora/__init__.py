"""Public corpora, one module each: licence, citation, splits, downloads, and how to list the recordings."""

from rased.data.corpora import (
    but_reverbdb,
    demand,
    dns,
    ears,
    ears_mixtures,
    esc50,
    fsd50k,
    librispeech,
    libritts,
    mit_ir,
    musan,
    own,
    reverb,
    slr26,
    slr28,
    vctk,
    voicebank_demand,
    wham,
    wsj0,
)
from rased.data.corpora.base import PublicCorpus
from rased.errors import RasedError, nearest

CORPORA: dict[str, PublicCorpus] = {
    corpus.name: corpus
    for corpus in (
        voicebank_demand.CORPUS,
        dns.CORPUS,
        librispeech.CORPUS,
        libritts.CORPUS,
        vctk.CORPUS,
        ears.CORPUS,
        ears_mixtures.WHAM,
        ears_mixtures.REVERB,
        wsj0.CORPUS,
        wham.NOISE,
        wham.REVERBERANT,
        reverb.CORPUS,
        musan.CORPUS,
        demand.CORPUS,
        fsd50k.CORPUS,
        esc50.CORPUS,
        slr26.CORPUS,
        slr28.CORPUS,
        but_reverbdb.CORPUS,
        mit_ir.CORPUS,
        own.FOLDER,
        own.MANIFEST,
        own.COMMONS,
    )
}
"""Corpora by name, in the order of the table."""


def find(name: str) -> PublicCorpus:
    """Return a corpus by its name.

    Raises:
        RasedError: unknown name; the message suggests similar ones.
    """
    if name not in CORPORA:
        raise RasedError(f"Unknown corpus '{name}': {nearest(name, CORPORA)}")
    return CORPORA[name]

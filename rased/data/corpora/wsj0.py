"""WSJ0: read Wall Street Journal articles; sold by the LDC."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Item, PublicCorpus, audio_below

_SPLIT = {"si_tr_s": "train", "si_dt_05": "valid", "si_et_05": "test"}


def walk(root: Path) -> Iterator[Item]:
    """Yield si_tr_s, si_dt_05 and si_et_05/SPEAKER/NAME.{wav,flac}, in one folder or on several discs."""
    for path in audio_below(root):
        folder, speaker = path.parent.parent.name, path.parent.name
        if folder in _SPLIT:
            name = path.relative_to(root).as_posix()
            yield Item(name, "speech", _SPLIT[folder], speaker, "LDC", "WSJ0 (LDC93S6A)")


CORPUS = PublicCorpus(
    name="wsj0",
    title="WSJ0",
    roles=("speech",),
    hours=None,
    sample_rate=16_000,
    licence="LDC",
    citation="Garofolo, Graff, Paul, Pallett: CSR-I (WSJ0) Complete, LDC93S6A. LDC, 1993.",
    homepage="https://catalog.ldc.upenn.edu/LDC93S6A",
    splits="si_tr_s is train, si_dt_05 valid, si_et_05 test",
    layout="wsj0/si_tr_s/011/011c0201.wav",
    walk=walk,
    by_hand="buy LDC93S6A and convert every .wv1 (compressed SPHERE) in its folder: "
    "sph2pipe -f wav NAME.wv1 NAME.wav",
)

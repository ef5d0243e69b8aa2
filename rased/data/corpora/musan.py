"""MUSAN: noise and music; its speech is not used, because it is mixed with other sounds."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import (
    Item,
    PublicCorpus,
    audio_below,
    below,
    of_openslr,
    split_by,
)


def walk(root: Path) -> Iterator[Item]:
    """Yield musan/{noise,music}/COLLECTION/KIND-COLLECTION-NUMBER.wav."""
    base = below(root, "musan")
    for kind in ("noise", "music"):
        for path in audio_below(base / kind):
            name = path.relative_to(root).as_posix()
            label = f"music-{path.parent.name}" if kind == "music" else path.parent.name
            yield Item(
                name, "noise", split_by(path.stem), label, "CC-BY-4.0", "MUSAN (openslr.org/17)"
            )


CORPUS = PublicCorpus(
    name="musan",
    title="MUSAN",
    roles=("noise",),
    hours=109,
    sample_rate=16_000,
    licence="CC-BY-4.0",
    citation="Snyder, Chen, Povey: MUSAN: a music, speech, and noise corpus. arXiv:1510.08484, 2015.",
    homepage="https://www.openslr.org/17",
    splits="by a hash of the recording's name, so that slr28, which holds some of them, agrees",
    layout="musan/noise/free-sound/noise-free-sound-0000.wav",
    walk=walk,
    archives=(of_openslr(17, "musan.tar.gz", "musan", md5="0c472d4fc0c5141eca47ad1ffeb2a7df"),),
    texts=("musan/noise/*/LICENSE", "musan/music/*/LICENSE"),
)

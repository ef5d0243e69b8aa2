"""LibriTTS: the books of LibriSpeech at 24 kHz, split at sentences; the same speakers in the same splits."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Item, PublicCorpus, below, of_openslr
from rased.data.corpora.librispeech import walk_parts

_MD5 = {
    "dev-clean": "0c3076c1e5245bb3f0af7d82087ee207",
    "dev-other": "815555d8d75995782ac3ccd7f047213d",
    "test-clean": "7bed3bdb047c4c197f1ad3bc412db59f",
    "test-other": "ae3258249472a13b5abef2a816f733e4",
    "train-clean-100": "4a8c202b78fe1bc0c47916a98f3a2ea8",
    "train-clean-360": "a84ef10ddade5fd25df69596a2767b2d",
    "train-other-500": "7b181dd5ace343a5f38427999684aa6f",
}


def walk(root: Path) -> Iterator[Item]:
    """Yield LibriTTS/PART/SPEAKER/CHAPTER/SPEAKER_CHAPTER_SEGMENT_NUMBER.wav."""
    yield from walk_parts(below(root, "LibriTTS"), root, "LibriTTS (openslr.org/60)")


CORPUS = PublicCorpus(
    name="libritts",
    title="LibriTTS",
    roles=("speech",),
    hours=585,
    sample_rate=24_000,
    licence="CC-BY-4.0",
    citation="Zen, Dang, Clark, Zhang, Weiss, Jia, Chen, Wu: LibriTTS: a corpus derived from "
    "LibriSpeech for text-to-speech. Interspeech 2019.",
    homepage="https://www.openslr.org/60",
    splits="as LibriSpeech, with its speakers",
    layout="LibriTTS/train-clean-100/103/1241/103_1241_000000_000001.wav",
    walk=walk,
    archives=tuple(
        of_openslr(60, f"{part}.tar.gz", f"LibriTTS/{part}", md5=md5, part=part)
        for part, md5 in _MD5.items()
    ),
    texts=("LibriTTS/LICENSE.txt", "LICENSE.txt"),
)

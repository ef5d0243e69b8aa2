"""LibriSpeech: read English audio books; each speaker is in one part only."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Item, PublicCorpus, audio_below, below, of_openslr

SPLIT_OF = {"train": "train", "dev": "valid", "test": "test"}
_MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}


def walk_parts(base: Path, root: Path, source: str) -> Iterator[Item]:
    """Yield BASE/{train,dev,test}-*/SPEAKER/CHAPTER/*; shared with LibriTTS."""
    for part in sorted(base.glob("*-*")):
        split = SPLIT_OF.get(part.name.partition("-")[0])
        for path in audio_below(part) if split else ():
            speaker = path.relative_to(part).parts[0]
            name = path.relative_to(root).as_posix()
            yield Item(name, "speech", str(split), speaker, "CC-BY-4.0", source)


def walk(root: Path) -> Iterator[Item]:
    """Yield LibriSpeech/PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac."""
    yield from walk_parts(below(root, "LibriSpeech"), root, "LibriSpeech (openslr.org/12)")


CORPUS = PublicCorpus(
    name="librispeech",
    title="LibriSpeech",
    roles=("speech",),
    hours=982,
    sample_rate=16_000,
    licence="CC-BY-4.0",
    citation="Panayotov, Chen, Povey, Khudanpur: LibriSpeech: an ASR corpus based on public domain "
    "audio books. ICASSP 2015.",
    homepage="https://www.openslr.org/12",
    splits="train-* is train, dev-* valid, test-* test: no speaker is in two of them",
    layout="LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac",
    walk=walk,
    archives=tuple(
        of_openslr(12, f"{part}.tar.gz", f"LibriSpeech/{part}", md5=md5, part=part)
        for part, md5 in _MD5.items()
    ),
    texts=("LibriSpeech/LICENSE.TXT", "LICENSE.TXT"),
)

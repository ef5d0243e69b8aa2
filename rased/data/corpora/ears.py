"""EARS: 107 speakers in an anechoic chamber, with speaking styles from whispering to yelling."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, PublicCorpus, audio_below, below

VALID_SPEAKERS = ("p100", "p101")
TEST_SPEAKERS = ("p102", "p103", "p104", "p105", "p106", "p107")
_NO_SPEECH = ("interjection", "melodic", "nonverbal", "vegetative")
"""Styles that the authors' benchmarks leave out."""
LICENCE = "CC-BY-NC-4.0"


def split_of(speaker: str) -> str:
    """Return the split of the authors' benchmarks."""
    if speaker in TEST_SPEAKERS:
        return "test"
    return "valid" if speaker in VALID_SPEAKERS else "train"


def walk(root: Path) -> Iterator[Item]:
    """Yield EARS/pNNN/STYLE_TEXT.wav, except for non-speech (laughter, coughs, humming)."""
    for speaker in sorted(below(root, "EARS").glob("p[0-9][0-9][0-9]")):
        for path in audio_below(speaker):
            if not path.name.startswith(_NO_SPEECH):
                name = path.relative_to(root).as_posix()
                split = split_of(speaker.name)
                yield Item(name, "speech", split, speaker.name, LICENCE, "EARS")


CORPUS = PublicCorpus(
    name="ears",
    title="EARS",
    roles=("speech",),
    hours=100,
    sample_rate=48_000,
    licence=LICENCE,
    citation="Richter, Wu, Krenn, Welker, Lay, Watanabe, Richard, Gerkmann: EARS: an anechoic fullband "
    "speech dataset benchmarked for speech enhancement and dereverberation. Interspeech 2024.",
    homepage="https://github.com/facebookresearch/ears_dataset",
    splits="p001 to p099 are train, p100 and p101 valid, p102 to p107 test, as in EARS-WHAM and "
    "EARS-Reverb",
    layout="EARS/p001/emo_anger_sentences.wav",
    walk=walk,
    archives=tuple(
        Archive(
            part=f"p{number:03d}",
            name=f"p{number:03d}.zip",
            urls=(
                "https://github.com/facebookresearch/ears_dataset/releases/download/dataset/"
                f"p{number:03d}.zip",
            ),
            into="EARS",
            holds=f"EARS/p{number:03d}",
        )
        for number in range(1, 108)
    ),
)

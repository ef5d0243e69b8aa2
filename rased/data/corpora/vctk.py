"""VCTK 0.92: 110 English speakers with various accents, two microphones."""

import re
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import (
    VOICEBANK_TEST_SPEAKERS,
    Archive,
    Item,
    PublicCorpus,
    audio_below,
    below,
    split_by,
)

VOICEBANK_VALID_SPEAKERS = ("p226", "p287")
_NAME = re.compile(r"(?P<speaker>[ps]\d+)_\d+(?:_mic(?P<channel>[12]))?$")


def split_of(speaker: str) -> str:
    """Return the split of a speaker; speakers of VoiceBank+DEMAND keep their split."""
    if speaker in VOICEBANK_TEST_SPEAKERS:
        return "test"
    return "valid" if speaker in VOICEBANK_VALID_SPEAKERS else split_by(speaker)


def walk(root: Path) -> Iterator[Item]:
    """Yield wav48_silence_trimmed/SPEAKER/SPEAKER_NUMBER_mic{1,2}.flac."""
    for path in audio_below(below(root, "VCTK-Corpus-0.92", "VCTK-Corpus")):
        found = _NAME.match(path.stem)
        if found:
            name, speaker = path.relative_to(root).as_posix(), found["speaker"]
            yield Item(
                name,
                "speech",
                split_of(speaker),
                speaker,
                "CC-BY-4.0",
                "VCTK 0.92",
                channel=int(found["channel"] or 1),
            )


CORPUS = PublicCorpus(
    name="vctk",
    title="VCTK 0.92",
    roles=("speech",),
    hours=44,
    sample_rate=48_000,
    licence="CC-BY-4.0",
    citation="Yamagishi, Veaux, MacDonald: CSTR VCTK Corpus: English multi-speaker corpus for CSTR "
    "voice cloning toolkit (version 0.92). University of Edinburgh, 2019.",
    homepage="https://datashare.ed.ac.uk/handle/10283/3443",
    splits="by a hash of the speaker's name; p232 and p257 are test and p226 and p287 valid, as in "
    "VoiceBank+DEMAND",
    layout="VCTK-Corpus-0.92/wav48_silence_trimmed/p225/p225_001_mic1.flac",
    walk=walk,
    archives=(
        Archive(
            part="all",
            name="VCTK-Corpus-0.92.zip",
            urls=(
                "https://datashare.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",
                "https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",
            ),
            checksum="sha256:f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
            into="VCTK-Corpus-0.92",
            holds="VCTK-Corpus-0.92",
        ),
    ),
    texts=("VCTK-Corpus-0.92/license_text", "license_text"),
)

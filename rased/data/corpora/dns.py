"""DNS Challenge (3 to 5): speech from many sources, noise, and the responses of OpenSLR 26 and 28."""

import re
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import (
    VOICEBANK_TEST_SPEAKERS,
    Archive,
    Item,
    PublicCorpus,
    audio_below,
    split_by,
)
from rased.data.corpora.slr26 import walk_simulated
from rased.data.corpora.slr28 import walk as walk_slr28

# `.`: the user may give the folder inside.
_BASES = ("datasets_fullband", "datasets", ".")
_CLEAN = ("clean_fullband", "clean", ".")
_NOISE = ("noise_fullband", "noise")
_SPEAKER = (
    re.compile(r"(reader_\d+)"),
    re.compile(r"M-AILABS_Speech_Dataset/[^/]+/(?:fe)?male/([^/]+)/"),
    re.compile(r"M-AILABS_Speech_Dataset/[^/]+/(mix/[^/]+)/"),
    re.compile(r"(?:^|/)(SLR39_\d+)_"),
    re.compile(r"(?:^|/)SLR\d+_es[-_][a-z]{2}_(?:(?:fe)?male_)?([a-z]{3}_\d{5})_"),
    re.compile(r"(?:^|/)German_Wikipedia_([^/]+?)_audio"),
    re.compile(r"vctk_wav48_silence_trimmed/([ps]\d+)/"),
    re.compile(r"(?:^|/)(\d{4})_[A-Z]{3}_[A-Z]{3}_"),
)
"""Patterns for the speaker in a file name: LibriVox, M-AILABS, OpenSLR, Wikipedia, VCTK, CREMA-D."""
_LICENCES = {
    "emotional_speech": "ODbL-1.0",
    "read_speech": "LibriVox (public domain)",
    "vctk_wav48_silence_trimmed": "ODC-BY-1.0",
}
_SEVERAL = "see the challenge's list"


def walk(root: Path) -> Iterator[Item]:
    """Yield the three roles of all challenges in the folder, without singing."""
    seen: set[Path] = set()
    for base in (root / name for name in _BASES):
        for path in _speech(base):
            if path not in seen:
                seen.add(path)
                item = _utterance(path, root)
                if item.label not in VOICEBANK_TEST_SPEAKERS:
                    yield item
        for folder in _NOISE:
            for path in audio_below(base / folder):
                if path not in seen:
                    seen.add(path)
                    yield _noise(path, root)
        responses = base / "impulse_responses"
        if responses.is_dir() and responses not in seen:
            seen.add(responses)
            yield from _rooms(responses, root)


def _speech(base: Path) -> Iterator[Path]:
    """Yield the files of clean[_fullband]/[SUBSET/] or, in challenge 4, of SUBSET itself."""
    for clean in (base / name for name in _CLEAN):
        if clean != base:
            yield from sorted(clean.glob("*.wav"))
        subsets = [*clean.glob("*_speech"), *clean.glob("*_data"), *clean.glob("vctk_wav48_*")]
        for subset in sorted(subsets):
            yield from audio_below(subset)


def _utterance(path: Path, root: Path) -> Item:
    """Return an utterance; a folder whose names do not identify speakers counts as one, so that splits are disjoint."""
    name = path.relative_to(root).as_posix()
    found = (pattern.search(name) for pattern in _SPEAKER)
    speaker = next((match[1] for match in found if match), path.parent.name)
    licence = next((text for part, text in _LICENCES.items() if f"{part}/" in name), _SEVERAL)
    return Item(name, "speech", split_by(speaker), speaker, licence, "DNS Challenge")


def _noise(path: Path, root: Path) -> Item:
    """Return a noise; Freesound names begin with the kind of noise, AudioSet names are ids of videos."""
    name = path.relative_to(root).as_posix()
    kind, freesound, _ = path.stem.partition("_Freesound")
    label = kind.lower() if freesound else "audioset"
    licence = "CC0-1.0" if freesound else "CC-BY-4.0"
    # Without the number of the clip: all clips of a recording go into one split.
    recording = re.sub(r"_\d+$", "", path.stem) if freesound else path.stem
    return Item(name, "noise", split_by(recording), label, licence, "DNS Challenge")


def _rooms(folder: Path, root: Path) -> Iterator[Item]:
    for name in ("simulated_rirs_16k", "simulated_rirs_48k", "simulated_rirs_8k"):
        yield from walk_simulated(folder / "SLR26" / name, root, "OpenSLR 26 (DNS Challenge)")
    slr28 = folder / "SLR28"
    if slr28.is_dir():
        for item in walk_slr28(slr28):
            if item.role == "rir":
                yield item._replace(path=(slr28 / item.path).relative_to(root).as_posix())


def _blob(part: str, name: str, holds: str) -> Archive:
    url = f"https://dns4public.blob.core.windows.net/dns4archive/{name}"
    return Archive(part, name, (url,), holds=holds)


CORPUS = PublicCorpus(
    name="dns",
    title="DNS Challenge",
    roles=("speech", "noise", "rir"),
    hours=None,
    sample_rate=0,
    licence="several: LibriVox (public domain), CC-BY-4.0, CC0-1.0, ODbL-1.0, Apache-2.0",
    citation="Reddy, Dubey, Koishida, Nair, Gopal, Cutler, Braun, Gamper, Aichner, Srinivasan: "
    "INTERSPEECH 2021 deep noise suppression challenge. Interspeech 2021.",
    homepage="https://github.com/microsoft/DNS-Challenge",
    splits="by a hash of the reader, recording or room; p232 and p257 of VCTK are left out",
    layout="datasets_fullband/clean_fullband/read_speech/book_00000_chp_0009_reader_06709_0_seg_1.wav",
    walk=walk,
    archives=(
        _blob(
            "noise", "datasets_fullband.noise_fullband.tar.bz2", "datasets_fullband/noise_fullband"
        ),
        _blob("rooms", "datasets.impulse_responses.tar.bz2", "datasets/impulse_responses"),
    ),
    by_hand="speech with download-dns-challenge-4.sh of https://github.com/microsoft/DNS-Challenge "
    "(hundreds of GB)",
)

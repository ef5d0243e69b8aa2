"""WHAM! noise: bars, restaurants and parks around San Francisco; and WHAMR!, its reverberant mixtures."""

import csv
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import (
    Archive,
    Item,
    Pair,
    PublicCorpus,
    audio_below,
    below,
    split_by,
)

_SPLIT = {"tr": "train", "cv": "valid", "tt": "test"}
_LICENCE = "CC-BY-NC-4.0"


def walk(root: Path) -> Iterator[Item]:
    """Yield wham_noise/{tr,cv,tt}/NAME.wav with the place from metadata/noise_meta_*.csv."""
    base = below(root, "wham_noise")
    for folder, split in _SPLIT.items():
        place = _places(base / "metadata" / f"noise_meta_{folder}.csv")
        for path in audio_below(base / folder):
            name = path.relative_to(root).as_posix()
            label = place.get(path.name, "unknown place")
            yield Item(name, "noise", split, label, _LICENCE, "WHAM! (wham.whisper.ai)")


def walk_reverberant(root: Path) -> Iterator[Item]:
    """Yield s1_anechoic of tr and cv; both have the same speakers in wsj0-2mix, so they are split again by speaker."""
    base = _mixtures(root)
    for folder in ("tr", "cv"):
        for path in audio_below(base / folder / "s1_anechoic"):
            speaker, name = _speaker(path), path.relative_to(root).as_posix()
            split = split_by(speaker, valid=0.1, test=0.0)
            yield Item(name, "speech", split, speaker, "LDC", "WHAMR! (WSJ0)")


def pairs(root: Path) -> Iterator[Pair]:
    """Yield tt/mix_single_reverb with tt/s1_anechoic: one speaker, noise and a room."""
    base = _mixtures(root) / "tt"
    for path in audio_below(base / "mix_single_reverb"):
        facts = {"condition": "reverb+noise", "speaker": _speaker(path)}
        yield Pair(path.stem, path, base / "s1_anechoic" / path.name, facts)


def _places(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    # -sig: skips a byte order mark, which would become a part of the first column's name.
    with file.open(newline="", encoding="utf-8-sig") as lines:
        return {row["utterance_id"]: row["Location ID"] for row in csv.DictReader(lines)}


def _mixtures(root: Path) -> Path:
    kinds = [f"wav{rate}/{length}" for rate in ("16k", "8k") for length in ("max", "min")]
    return below(root, *(f"{base}{kind}" for base in ("whamr/", "") for kind in kinds))


def _speaker(path: Path) -> str:
    """Return the first speaker of a mixture: 40n for 40na010x_1.9857_01xo031a_-1.9857.wav."""
    return path.name[:3]


NOISE = PublicCorpus(
    name="wham",
    title="WHAM! noise",
    roles=("noise",),
    hours=82,
    sample_rate=16_000,
    licence=_LICENCE,
    citation="Wichern, Antognini, Flynn, Zhu, McQuinn, Crow, Manilow, Le Roux: WHAM!: extending speech "
    "separation to noisy environments. Interspeech 2019.",
    homepage="http://wham.whisper.ai",
    splits="tr is train, cv valid, tt test",
    layout="wham_noise/tr/40na010x_1.9857_01xo031a_-1.9857.wav",
    walk=walk,
    archives=(
        Archive(
            part="all",
            name="wham_noise.zip",
            urls=(
                "https://my-bucket-a8b4b49c25c811ee9a7e8bba05fa24c7.s3.amazonaws.com/wham_noise.zip",
                "https://storage.googleapis.com/whisper-public/wham_noise.zip",
            ),
            holds="wham_noise",
        ),
    ),
    texts=("wham_noise/license*", "wham_noise/LICENSE*"),
)

REVERBERANT = PublicCorpus(
    name="whamr",
    title="WHAMR!",
    roles=("speech",),
    hours=None,
    sample_rate=16_000,
    licence="LDC (speech), CC-BY-NC-4.0 (noise)",
    citation="Maciejewski, Wichern, McQuinn, Le Roux: WHAMR!: noisy and reverberant single-channel "
    "speech separation. ICASSP 2020.",
    homepage="http://wham.whisper.ai",
    splits="the speakers of tr and cv by a hash of their names; tt, one speaker in a noisy room, "
    "becomes a frozen test set",
    layout="whamr/wav16k/max/tt/mix_single_reverb/050a0501_1.7783_442o030z_-1.7783.wav",
    walk=walk_reverberant,
    by_hand="generate it from WSJ0 and WHAM! noise with whamr_scripts of http://wham.whisper.ai",
    pairs=pairs,
    target="anechoic",
)

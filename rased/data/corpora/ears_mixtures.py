"""EARS-WHAM and EARS-Reverb: the authors' mixtures of EARS, made with their scripts."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from rased.data.corpora.base import Item, Pair, PublicCorpus, audio_below, below
from rased.data.corpora.ears import CORPUS as EARS
from rased.data.corpora.ears import LICENCE, split_of

_SCRIPTS = "generate it with the scripts of https://github.com/sp-uhh/ears_benchmark"
_NAME = re.compile(r"(?P<number>\d+)_(?P<value>-?[0-9.]+?)(?:dB)?$")
Facts = Callable[[float], dict[str, object]]


def _walk(root: Path, *, folders: tuple[str, ...], source: str) -> Iterator[Item]:
    """Yield the clean speech of {train,valid}/clean/pNNN/NUMBER.wav; the test set is kept as a set."""
    base = below(root, *folders)
    for split in ("train", "valid"):
        for path in audio_below(base / split / "clean"):
            speaker, name = path.parent.name, path.relative_to(root).as_posix()
            # A folder that holds speakers of another split is not that of the authors.
            if split_of(speaker) == split:
                yield Item(name, "speech", split, speaker, LICENCE, source)


def _pairs(root: Path, *, folders: tuple[str, ...], noisy: str, facts: Facts) -> Iterator[Pair]:
    """Yield test/NOISY/pNNN/NUMBER_VALUE.wav with test/clean/pNNN/NUMBER.wav."""
    base = below(root, *folders) / "test"
    for path in audio_below(base / noisy):
        found = _NAME.match(path.stem)
        if found:
            speaker = path.parent.name
            yield Pair(
                f"{speaker}_{found['number']}",
                path,
                base / "clean" / speaker / f"{found['number']}{path.suffix}",
                {"speaker": speaker, **facts(float(found["value"]))},
            )


def _noise(value: float) -> dict[str, object]:
    return {"condition": "noise", "snr_db": value}


def _reverb(value: float) -> dict[str, object]:
    return {"condition": "reverb", "t60": value}


_WHAM = ("EARS-WHAM_v2", "EARS-WHAM_v2_16k", "EARS-WHAM")
_REVERB = ("EARS-Reverb_v2", "EARS-Reverb_v2_16k", "EARS-Reverb")

WHAM = PublicCorpus(
    name="ears-wham",
    title="EARS-WHAM",
    roles=("speech",),
    hours=None,
    sample_rate=48_000,
    licence=LICENCE,
    citation=EARS.citation,
    homepage="https://github.com/sp-uhh/ears_benchmark",
    splits="the authors'; the test set becomes a frozen test set with its SNR",
    layout="EARS-WHAM/test/noisy/p102/00000_3.2dB.wav",
    walk=partial(_walk, folders=_WHAM, source="EARS-WHAM"),
    by_hand=_SCRIPTS,
    pairs=partial(_pairs, folders=_WHAM, noisy="noisy", facts=_noise),
)

REVERB = replace(
    WHAM,
    name="ears-reverb",
    title="EARS-Reverb",
    splits="the authors'; the test set becomes a frozen test set with its reverberation time",
    layout="EARS-Reverb/test/reverberant/p102/00000_0.53.wav",
    walk=partial(_walk, folders=_REVERB, source="EARS-Reverb"),
    pairs=partial(_pairs, folders=_REVERB, noisy="reverberant", facts=_reverb),
)

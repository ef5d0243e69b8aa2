"""OpenSLR 26: simulated responses of 600 small, medium and large rooms."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Item, PublicCorpus, audio_below, of_openslr, split_by

SIZES = ("smallroom", "mediumroom", "largeroom")
LICENCE = "Apache-2.0"


def walk_simulated(base: Path, root: Path, source: str) -> Iterator[Item]:
    """Yield BASE/{small,medium,large}room/RoomNNN/RoomNNN-NNNNN.wav; shared with SLR28 and DNS."""
    for size in SIZES:
        for path in audio_below(base / size):
            room = f"{size}-{path.parent.name}"
            name = path.relative_to(root).as_posix()
            yield Item(name, "rir", split_by(room), room, LICENCE, source)


def walk(root: Path) -> Iterator[Item]:
    """Yield simulated_rirs_16k/SIZE/ROOM/*.wav."""
    for base in _bases(root):
        yield from walk_simulated(base, root, "OpenSLR 26")


def _bases(root: Path) -> list[Path]:
    found = [root / name for name in ("simulated_rirs_16k", "simulated_rirs_8k")]
    return [base for base in found if base.is_dir()] or [root]


CORPUS = PublicCorpus(
    name="slr26",
    title="OpenSLR 26, simulated responses",
    roles=("rir",),
    hours=None,
    sample_rate=16_000,
    licence=LICENCE,
    citation="Ko, Peddinti, Povey, Seltzer, Khudanpur: A study on data augmentation of reverberant "
    "speech for robust speech recognition. ICASSP 2017.",
    homepage="https://www.openslr.org/26",
    splits="by a hash of the room's name",
    layout="simulated_rirs_16k/smallroom/Room001/Room001-00001.wav",
    walk=walk,
    archives=(of_openslr(26, "sim_rir_16k.zip", "simulated_rirs_16k", part="16k"),),
)

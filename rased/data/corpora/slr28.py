"""OpenSLR 28: simulated and measured responses, noise of the measured rooms, point sources."""

import re
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora import reverb
from rased.data.corpora.base import (
    Item,
    PublicCorpus,
    audio_below,
    below,
    of_openslr,
    split_by,
)
from rased.data.corpora.slr26 import CORPUS as SLR26
from rased.data.corpora.slr26 import LICENCE, walk_simulated

_SOURCE = "OpenSLR 28"
_AIR_ROOM = re.compile(r"aula_carolina|booth|lecture|meeting|office|stairway")


def walk(root: Path) -> Iterator[Item]:
    """Yield RIRS_NOISES/{simulated_rirs,real_rirs_isotropic_noises,pointsource_noises}."""
    base = below(root, "RIRS_NOISES")
    yield from walk_simulated(base / "simulated_rirs", root, _SOURCE)
    for path in audio_below(base / "real_rirs_isotropic_noises"):
        (room, split), name = room_of(path.stem), path.relative_to(root).as_posix()
        if "noise" in path.stem:
            yield Item(name, "noise", split, room, LICENCE, _SOURCE)
        elif "rir" in path.stem or path.stem.startswith("air_"):
            yield Item(name, "rir", split, room, LICENCE, _SOURCE)
    for path in audio_below(base / "pointsource_noises"):
        name = path.relative_to(root).as_posix()
        label = "free-sound" if "free-sound" in path.stem else "point source"
        yield Item(name, "noise", split_by(path.stem), label, LICENCE, f"{_SOURCE} (MUSAN)")


def room_of(name: str) -> tuple[str, str]:
    """Return room and split of a measured response or noise; the whole database if the name does not tell the room.

    Rooms of the REVERB challenge have the same label and split as there.

    >>> room_of("RVB2014_type1_rir_largeroom2_far_angla")
    ('LargeRoom2', 'valid')
    >>> room_of("RWCP_type2_rir_cirline_ofc_imp_rev")
    ('RWCP', 'train')
    """
    lower = name.lower()
    # Rooms of the REVERB challenge, here under other names of files.
    if lower.startswith("rvb2014") and (room := reverb.room_of(name)):
        return room, reverb.split_of(room)
    if lower.startswith("air") and (found := _AIR_ROOM.search(lower)):
        room = f"AIR-{found[0]}"
    else:
        room = name.partition("_")[0].upper()
    return room, split_by(room)


CORPUS = PublicCorpus(
    name="slr28",
    title="OpenSLR 28, responses and noises",
    roles=("rir", "noise"),
    hours=None,
    sample_rate=16_000,
    licence=LICENCE,
    citation=SLR26.citation,
    homepage="https://www.openslr.org/28",
    splits="by a hash of the room's name, those of the REVERB challenge as in reverb; point sources by "
    "that of the recording, as in musan",
    layout="RIRS_NOISES/simulated_rirs/smallroom/Room001/Room001-00001.wav",
    walk=walk,
    archives=(
        of_openslr(28, "rirs_noises.zip", "RIRS_NOISES", md5="e6f48e257286e05de56413b4779d8ffb"),
    ),
)

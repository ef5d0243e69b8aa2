"""REVERB challenge: measured responses and noise of rooms; its simulated test set, if it has been generated."""

import re
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, Pair, PublicCorpus, audio_below
from rased.data.schemas import Role

_TOOLS = ("reverb_tools_for_Generate_mcTrainData", "reverb_tools_for_Generate_SimData")
_VALID_ROOM = "LargeRoom2"
_ROOM = re.compile(r"(Small|Medium|Large|Sim)Room(\d)", re.IGNORECASE)
_LICENCE = "unknown (none stated)"


def walk(root: Path) -> Iterator[Item]:
    """Yield RIR/RIR_ROOM_{near,far}_Angl{A,B}.wav and NOISE/Noise_ROOM_N.wav; SimRoom1 to 3 are test."""
    roles: dict[str, Role] = {"RIR": "rir", "NOISE": "noise"}
    for path in audio_below(root):
        room = room_of(path.stem)
        role = roles.get(path.parent.name)
        if room and role:
            name = path.relative_to(root).as_posix()
            yield Item(name, role, split_of(room), room, _LICENCE, "REVERB challenge 2014")


def room_of(name: str) -> str:
    """Return the room in the name of a file of the challenge, here or in OpenSLR 28; "" if there is none.

    >>> room_of("RVB2014_type2_rir_simroom1_far_angla")
    'SimRoom1'
    """
    found = _ROOM.search(name)
    return f"{found[1].capitalize()}Room{found[2]}" if found else ""


def split_of(room: str) -> str:
    """Return the split of a room of the challenge; the rooms of its simulated test data are test."""
    if room.startswith("Sim"):
        return "test"
    return "valid" if room == _VALID_ROOM else "train"


def pairs(root: Path) -> Iterator[Pair]:
    """Yield REVERB_WSJCAM0_et/data/{near,far}_test with cln_test, channel 1."""
    base = next(iter(sorted(root.rglob("REVERB_WSJCAM0_et"))), root / "REVERB_WSJCAM0_et") / "data"
    for distance in ("near", "far"):
        for path in audio_below(base / f"{distance}_test"):
            stem, _, channel = path.stem.rpartition("_ch")
            # The first of eight microphones.
            if channel == "1":
                place = path.relative_to(base / f"{distance}_test").parent
                clean = base / "cln_test" / place / f"{stem}{path.suffix}"
                facts = {"condition": "reverb+noise", "snr_db": 20.0, "speaker": path.parent.name}
                yield Pair(f"{distance}_{stem}", path, clean, facts)


CORPUS = PublicCorpus(
    name="reverb",
    title="REVERB challenge",
    roles=("rir", "noise"),
    hours=None,
    sample_rate=16_000,
    licence=_LICENCE,
    citation="Kinoshita, Delcroix, Yoshioka, Nakatani, Habets, Haeb-Umbach, Leutnant, Sehr, Kellermann, "
    "Maas, Gannot, Raj: The REVERB challenge. WASPAA 2013.",
    homepage="https://reverb2014.dereverberation.com",
    splits="by room: the rooms of the simulated test data are test, LargeRoom2 is valid",
    layout="reverb_tools_for_Generate_mcTrainData/RIR/RIR_SmallRoom1_near_AnglA.wav",
    walk=walk,
    archives=tuple(
        Archive(
            part=name.rpartition("_")[2],
            name=f"{name}.tgz",
            urls=tuple(
                f"{scheme}://reverb2014.dereverberation.com/tools/{name}.tgz"
                for scheme in ("https", "http")
            ),
            holds=name,
        )
        for name in _TOOLS
    ),
    by_hand="the speech is WSJCAM0 (LDC95S24): put REVERB_WSJCAM0_et, made by the challenge's tools, "
    "below --root to get its test set",
    pairs=pairs,
)

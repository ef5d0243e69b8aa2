"""BUT ReverbDB: nine real rooms, measured at 31 microphones, and recordings of their background noise."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, PublicCorpus, audio_below
from rased.data.schemas import Role

VALID_ROOMS = ("VUT_FIT_L212",)
TEST_ROOMS = ("VUT_FIT_C236", "Hotel_SkalskyDvur_Room112")
_ROLE: dict[str, Role] = {"rir": "rir", "silence": "noise"}
_FOLDERS = ("VUT_FIT_", "Hotel_SkalskyDvur_")


def walk(root: Path) -> Iterator[Item]:
    """Yield ROOM/MicIDnn/SpkIDnn_DATE/MIC/{RIR,silence}/NAME.wav."""
    for path in audio_below(root):
        folders = path.relative_to(root).parts[:-1]
        room = next((folder for folder in folders if folder.startswith(_FOLDERS)), "")
        role = _ROLE.get(path.parent.name.lower())
        if room and role:
            test = "test" if room in TEST_ROOMS else "train"
            split = "valid" if room in VALID_ROOMS else test
            name = path.relative_to(root).as_posix()
            yield Item(name, role, split, room, "CC-BY-4.0", "BUT ReverbDB")


CORPUS = PublicCorpus(
    name="but-reverbdb",
    title="BUT Speech@FIT Reverb Database (19.06, RIR only)",
    roles=("rir", "noise"),
    hours=None,
    sample_rate=16_000,
    licence="CC-BY-4.0",
    citation="Szöke, Skácel, Mošner, Paliesek, Černocký: Building and evaluation of a real room impulse "
    "response dataset. IEEE JSTSP 13(4), 2019. doi:10.1109/JSTSP.2019.2917582",
    homepage="https://speech.fit.vut.cz/software/but-speech-fit-reverb-database",
    splits="by room: an office (L212) is valid, a meeting room (C236) and a hotel room (R112) are test",
    layout="VUT_FIT_C236/MicID01/SpkID01_20190503_S/01/RIR/IR_sweep_15s_45Hzto22kHz_FS16kHz.v00.wav",
    walk=walk,
    archives=(
        Archive(
            part="all",
            name="BUT_ReverbDB_rel_19_06_RIR-Only.tgz",
            urls=("http://merlin.fit.vutbr.cz/ReverbDB/BUT_ReverbDB_rel_19_06_RIR-Only.tgz",),
            into="BUT_ReverbDB",
            holds="BUT_ReverbDB",
        ),
    ),
    texts=("*/LICENSE*", "*/README*"),
)

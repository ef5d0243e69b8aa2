"""DEMAND: noise of 18 places, 16 microphones, 5 minutes each."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, PublicCorpus, audio_below

TEST_PLACES = ("DLIVING", "OOFFICE", "SCAFE", "SPSQUARE", "TBUS")
"""Places in the test set of VoiceBank+DEMAND (living, office, cafe, psquare, bus in its log)."""
VALID_PLACES = ("NRIVER", "OHALLWAY")
"""Places that VoiceBank+DEMAND does not use."""
_MD5 = {
    "DKITCHEN_16k": "7ffbf52d7f4699f96927846103dc8788",
    "DLIVING_16k": "46741384d9e434a0bd8b3ec1830b6052",
    "DWASHING_16k": "7e5ee9437ce9409c5f9a779b6212a240",
    "NFIELD_16k": "a740046c6f4e174e16f5d568aaec5024",
    "NPARK_16k": "80f1385a34d7f1705758926b57f138ce",
    "NRIVER_16k": "54264db61d3fe073fb81f2e40e0d19b5",
    "OHALLWAY_16k": "fe918bbb0e63e73d09ba7f4843ef33f1",
    "OMEETING_16k": "62f7cfe7fe6d30b7d8a215fe37c2dfd2",
    "OOFFICE_16k": "7b61cc2d182d5a654cb9c3101ddd4041",
    "PCAFETER_16k": "99927d148128254141a9417d051510bb",
    "PRESTO_16k": "b98d2e6854eeebb397f29a8ad7457092",
    "PSTATION_16k": "d7448009f6c2aeb6ba570375df1750a3",
    "SCAFE_48k": "",
    "SPSQUARE_16k": "205d0e7b8fe74504a2f8d252fc414b9e",
    "STRAFFIC_16k": "2efa87262f272bbf9ba578088e81939c",
    "TBUS_16k": "706b11b0d8504f9f3b3f3211e91b3863",
    "TCAR_16k": "4d930012796bd298932245a26189f973",
    "TMETRO_16k": "95daf4df678e13b120e14211e6d89571",
}
_PLACES = {name.partition("_")[0] for name in _MD5}


def walk(root: Path) -> Iterator[Item]:
    """Yield PLACE/ch{01..16}.wav."""
    for path in audio_below(root):
        place = path.parent.name
        if place in _PLACES and path.stem.startswith("ch") and path.stem[2:].isdigit():
            test = "test" if place in TEST_PLACES else "train"
            yield Item(
                path.relative_to(root).as_posix(),
                "noise",
                "valid" if place in VALID_PLACES else test,
                place,
                "CC-BY-SA-3.0",
                "DEMAND (zenodo.org/records/1227121)",
                channel=int(path.stem[2:]),
            )


CORPUS = PublicCorpus(
    name="demand",
    title="DEMAND",
    roles=("noise",),
    hours=1.5,
    sample_rate=16_000,
    licence="CC-BY-SA-3.0",
    citation="Thiemann, Ito, Vincent: The Diverse Environments Multi-channel Acoustic Noise Database "
    "(DEMAND). ICA 2013.",
    homepage="https://zenodo.org/records/1227121",
    splits="by place: those of VoiceBank+DEMAND's test set are test, a river and a hallway valid",
    layout="DKITCHEN/ch01.wav",
    walk=walk,
    archives=tuple(
        Archive(
            part=name.partition("_")[0],
            name=f"{name}.zip",
            urls=(
                f"https://zenodo.org/records/1227121/files/{name}.zip?download=1",
                f"https://zenodo.org/api/records/1227121/files/{name}.zip/content",
            ),
            checksum=f"md5:{md5}" if md5 else "",
            holds=name.partition("_")[0],
        )
        for name, md5 in _MD5.items()
    ),
)

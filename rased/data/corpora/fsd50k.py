"""FSD50K: 51 197 labelled clips of Freesound, with a licence for each clip; clips with speech are left out."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, PublicCorpus, creative_commons

_VOICE = {"Speech", "Singing", "Whispering", "Shout"}
"""Clips with these labels would teach an enhancer to remove voices. All other labels of Human_voice are below them."""
_MD5 = {
    "dev": {
        "z01": "faa7cf4cc076fc34a44a479a5ed862a3",
        "z02": "8f9b66153e68571164fb1315d00bc7bc",
        "z03": "1196ef47d267a993d30fa98af54b7159",
        "z04": "d088ac4e11ba53daf9f7574c11cccac9",
        "z05": "81356521aa159accd3c35de22da28c7f",
        "zip": "c480d119b8f7a7e32fdb58f3ea4d6c5a",
    },
    "eval": {
        "z01": "3090670eaeecc013ca1ff84fe4442aeb",
        "zip": "6fa47636c3a3ad5c7dfeba99f2637982",
    },
}
_TABLES = {
    "ground_truth": "ca27382c195e37d2269c4c866dd73485",
    "metadata": "b9ea0c829a411c1d42adb9da539ed237",
    "doc": "3516162b82dc2945d3e7feba0904e800",
}


def walk(root: Path) -> Iterator[Item]:
    """Yield FSD50K.{dev,eval}_audio/ID.wav of FSD50K.ground_truth/{dev,eval}.csv."""
    for subset in ("dev", "eval"):
        table = root / "FSD50K.ground_truth" / f"{subset}.csv"
        if not table.is_file() or not (root / f"FSD50K.{subset}_audio").is_dir():
            continue
        file = root / "FSD50K.metadata" / f"{subset}_clips_info_FSD50K.json"
        clips = json.loads(file.read_bytes()) if file.is_file() else {}
        with table.open(newline="") as lines:
            for row in csv.DictReader(lines):
                labels = row["labels"].split(",")
                if _VOICE.isdisjoint(labels):
                    clip = clips.get(row["fname"], {})
                    yield Item(
                        f"FSD50K.{subset}_audio/{row['fname']}.wav",
                        "noise",
                        # eval.csv has no column split.
                        {"train": "train", "val": "valid"}.get(row.get("split") or "", "test"),
                        labels[0],
                        creative_commons(clip.get("license", "")),
                        f"FSD50K (freesound.org/s/{row['fname']})",
                        note=f"by {clip['uploader']}" if "uploader" in clip else "",
                    )


def _archive(part: str, name: str, md5: str, joined: tuple[str, ...] = ()) -> Archive:
    return Archive(
        part=part,
        name=name,
        urls=(
            f"https://zenodo.org/records/4060432/files/{name}?download=1",
            f"https://zenodo.org/api/records/4060432/files/{name}/content",
        ),
        checksum=f"md5:{md5}",
        holds=name.rpartition(".")[0],
        joined=joined,
    )


def _archives() -> Iterator[Archive]:
    for table, md5 in _TABLES.items():
        yield _archive("tables", f"FSD50K.{table}.zip", md5)
    for subset, files in _MD5.items():
        base = f"FSD50K.{subset}_audio"
        before = tuple(f"{base}.{ending}" for ending in files if ending != "zip")
        for ending, md5 in files.items():
            yield _archive(subset, f"{base}.{ending}", md5, before if ending == "zip" else ())


CORPUS = PublicCorpus(
    name="fsd50k",
    title="FSD50K",
    roles=("noise",),
    hours=108.3,
    sample_rate=44_100,
    licence="CC-BY-4.0; clips CC0, CC-BY, CC-BY-NC, CC-Sampling+ (--licence picks)",
    citation="Fonseca, Favory, Pons, Font, Serra: FSD50K: an open dataset of human-labeled sound "
    "events. IEEE/ACM TASLP 30, 2022. arXiv:2010.00475",
    homepage="https://zenodo.org/records/4060432",
    splits="dev is parted into train and valid by its table, eval is test",
    layout="FSD50K.dev_audio/64760.wav and FSD50K.ground_truth/dev.csv",
    walk=walk,
    archives=tuple(_archives()),
    texts=("FSD50K.doc/LICENSE-DATASET",),
)

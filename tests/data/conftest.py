"""Small corpora, generated once a session and written as shards by hand."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
import soundfile

from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.plan import Plan, Scene
from rased.data.schemas import Shard
from rased.data.shards.index import write_index

RATE = 16_000


def write_corpus(folder, role, recordings, *, codec="flac"):
    """Write `recordings` = [(split, label, audio)] as one shard a split, with an index."""
    folder.mkdir(parents=True)
    columns = {name: [] for name in ("key", "split", "label", "shard", "offset", "bytes")}
    columns |= {"frames": [], "licence": [], "sha256": []}
    shards = []
    for number, split in enumerate(sorted({split for split, _, _ in recordings})):
        path = folder / f"{split}-000000.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, (of, label, audio) in enumerate(recordings):
                if of != split:
                    continue
                key = f"{role}_{split}_{place:03d}"
                for suffix, data in (
                    (codec, encode(audio, codec)),
                    ("json", json.dumps({"key": key}).encode()),
                ):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(data)
                    if suffix == codec:
                        columns["key"].append(key)
                        columns["split"].append(split)
                        columns["label"].append(label)
                        columns["shard"].append(number)
                        columns["offset"].append(tar.offset + 512)
                        columns["bytes"].append(len(data))
                        columns["frames"].append(len(audio))
                        columns["licence"].append(0)
                        columns["sha256"].append(hashlib.sha256(data).hexdigest())
                    tar.addfile(member, io.BytesIO(data))
        stored = path.read_bytes()
        shards.append(Shard(path.name, len(stored), hashlib.sha256(stored).hexdigest()))
    write_index(
        folder,
        role=role,
        codec=codec,
        sample_rate=RATE,
        shards=shards,
        licences=["CC0"],
        columns=columns,
    )
    return folder


def encode(audio, codec):
    samples = np.round(audio * 32767).astype("<i2")
    if codec == "pcm16":
        return samples.tobytes()
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def response(random, direct, seconds=0.4):
    """A decaying response whose direct path lies at `direct` samples."""
    taps = int(seconds * RATE)
    rir = np.zeros(taps)
    time = np.arange(taps - direct - 80) / RATE
    rir[direct] = 0.9
    rir[direct + 80 :] = 0.03 * random.standard_normal(len(time)) * 10 ** (-3 * time / 0.3)
    return rir


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """Folder with speech (4 speakers), noise and rir in the splits train and valid."""
    root = tmp_path_factory.mktemp("corpora")
    random = np.random.default_rng(0)

    def tones(seconds):
        time = np.arange(int(seconds * RATE)) / RATE
        pitch = random.uniform(100, 250)
        voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8))
        return 0.1 * voice * (0.2 + np.abs(np.sin(5 * time)))

    speech = [("train", f"speaker{n % 3}", tones(random.uniform(0.3, 2.5))) for n in range(13)]
    speech += [("valid", "speaker_valid", tones(1.5)) for _ in range(4)]
    noise = [
        ("train", f"type{n % 2}", 0.1 * random.standard_normal(int(s * RATE)))
        for n, s in enumerate((0.4, 1.2, 3))
    ]
    noise += [("valid", "type0", 0.1 * random.standard_normal(RATE))]
    rir = [("train", f"room{n}", response(random, 30 + 10 * n)) for n in range(3)]
    rir += [("valid", "room_valid", response(random, 960))]
    for role, recordings in {"speech": speech, "noise": noise, "rir": rir}.items():
        write_corpus(root / role, role, recordings)
    return root


@pytest.fixture
def plan(corpora):
    """A plan over the small corpora: 1 s mixtures, half of them in a room, 23 an epoch."""
    sources = {
        role: Corpus([corpora], role=role, split="train") for role in ("speech", "noise", "rir")
    }
    return Plan(**sources, scene=Scene(segment=1.0), seed=3, count=23)

"""Every document from outside, damaged at random and at every place: accepted, or one sentence; nothing else."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from rased.data.frames import probe
from rased.data.frames.file import FrameFile, Framing
from rased.data.frames.sources import Recordings
from rased.data.frames.writer import write_frames
from rased.data.integrity import verify as verifying
from rased.data.integrity.repair import repair
from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.pack import pack
from rased.errors import RasedError
from rased.evaluation import evaluate
from rased.evaluation import result as results
from rased.evaluation.collecting import collect
from rased.evaluation.comparison.board import boards
from rased.evaluation.comparison.conditions import by_condition, worst
from rased.evaluation.report.markdown import markdown
from rased.evaluation.report.terminal import as_plain
from rased.evaluation.testset import KNOWN, read_testset
from rased.layers.frontend import Features
from rased.signal.stft import STFT
from tests import fuzz

RATE = 16_000
COUNT = int(os.environ.get("RASED_FUZZ", "25"))
"""Damaged documents of each kind; more of them by RASED_FUZZ=5000."""
SEED = int(os.environ.get("RASED_FUZZ_SEED", "0"))


class Shards:
    """A folder of three utterances of speech."""

    def __init__(self, root: Path, codec: str) -> None:
        random = np.random.default_rng(1)
        for split, count in (("train", 2), ("valid", 1)):
            for number in range(count):
                folder = root / "in" / split / f"{split}{number}"
                folder.mkdir(parents=True)
                audio = 0.1 * random.standard_normal(RATE // 4)
                soundfile.write(folder / f"{number}.wav", audio, RATE)
        self.folder, self._turn = root / "speech", 0
        pack([root / "in"], self.folder, role="speech", codec=codec, jobs=1)
        self.kept = {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def put(self, name: str, data: bytes) -> None:
        """The folder as it was packed, but for one file."""
        for path in self.folder.iterdir():
            if path.name not in self.kept:
                path.unlink()
        for other, content in self.kept.items():
            path = self.folder / other
            wanted = data if other == name else content
            if not path.is_file() or path.read_bytes() != wanted:
                path.write_bytes(wanted)

    def use(self) -> None:
        """Everything that reads a folder of shards."""
        refused = []
        self._turn += 1
        slow = (self._verify, self._again) if self._turn % 4 == 0 else ()
        for read in (self._read, self._frames, self._summary, *slow):
            try:
                read()
            except RasedError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def _read(self) -> None:
        corpus = Corpus([self.folder], role="speech", split="train")
        corpus.digest()
        corpus.manifest()
        corpus.blocks()
        for number in range(min(len(corpus), 5)):
            corpus.read(number, 0, 100)
            corpus.whole(number)

    def _frames(self) -> None:
        for group in Recordings([self.folder]).groups((0, 0)):
            for item in group.items:
                item.audio["clean"](0, 10)

    def _summary(self) -> None:
        verifying.summary(self.folder)

    def _verify(self) -> None:
        found = verifying.verify([self.folder])
        assert all(str(problem).isprintable() for problem in found.problems)
        repair(self.folder)
        assert verifying.verify([self.folder]).samples <= 6

    def _again(self) -> None:
        pack([self.folder.parent / "in"], self.folder, role="speech", codec="flac", jobs=1)


@pytest.fixture(scope="module", params=["flac", "pcm16"])
def shards(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    return Shards(root, request.param)


def _random(*address: int) -> np.random.Generator:
    return np.random.default_rng((SEED, *address))


def _each_place(content):
    """The document with each payload at some place, and each place with some payload."""
    ways = list(fuzz.places(content))
    count = max(len(ways), len(fuzz.PAYLOADS))
    for number in range(max(COUNT, count)):
        way = ways[number % len(ways)]
        yield fuzz.with_value(
            content, way, fuzz.PAYLOADS[(number * 7 + number // 40) % len(fuzz.PAYLOADS)]
        )


@pytest.mark.parametrize("name", ["index.json", "pack.json", "skipped.json"])
def test_shards(shards, name):
    data = shards.kept[name] if name in shards.kept else b"[]"
    shards.kept.setdefault(name, data)
    content = json.loads(data)
    for number in range(COUNT):
        random = _random(1, number)
        for damaged in (
            fuzz.mutated_bytes(data, random),
            fuzz.dumped(fuzz.mutated_json(content, random)),
        ):
            shards.put(name, damaged)
            fuzz.assert_clean(shards.use, shards.folder)


def test_each_place_of_an_index(shards):
    content = json.loads(shards.kept["index.json"])
    for damaged in _each_place(content):
        shards.put("index.json", fuzz.dumped(damaged))
        fuzz.assert_clean(shards.use, shards.folder)


def test_tars(shards):
    for number in range(COUNT):
        random = _random(2, number)
        data = bytearray(shards.kept["train-000000.tar"])
        place = 512 * int(random.integers(len(data) // 512))
        header = fuzz.mutated_bytes(bytes(data[place : place + 512]), random)
        whole = fuzz.mutated_bytes(bytes(data), random)
        for damaged in (
            whole,
            bytes(data[:place]) + header[:512].ljust(512, b"\0") + bytes(data[place + 512 :]),
        ):
            shards.put("train-000000.tar", damaged)
            fuzz.assert_clean(shards.use, shards.folder)


def test_each_place_of_the_json_of_a_sample(shards):
    data = shards.kept["train-000000.tar"]
    start = data.index(b'{"key"')
    end = data.index(b"}", start) + 1
    for damaged in _each_place(json.loads(data[start:end])):
        text = json.dumps(damaged, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= 512:
            size = f"{len(text):011o}".encode()
            header = bytearray(data[start - 512 : start])
            header[124:135] = size
            header[148:156] = b" " * 8
            header[148:156] = f"{sum(header):06o}\0 ".encode()
            whole = (
                data[: start - 512] + bytes(header) + text.ljust(512, b"\0") + data[start + 512 :]
            )
            shards.put("train-000000.tar", whole)
            fuzz.assert_clean(shards.use, shards.folder)


@pytest.fixture(scope="module")
def testset(tmp_path_factory):
    """A plain test set of two utterances, and its frozen twin."""
    root = tmp_path_factory.mktemp("sets")
    random = np.random.default_rng(2)
    plain = root / "plain"
    for part in ("noisy", "target"):
        (plain / part).mkdir(parents=True)
        for name in ("a", "b"):
            audio = 0.1 * random.standard_normal(RATE // 2)
            soundfile.write(plain / part / f"{name}.flac", audio, RATE)
    (plain / "manifest.csv").write_text(
        "id,speaker,snr_db,speech,text\na,x,5,speech/x/a.wav,one\nb,y,-5,y + z,two\n"
    )
    frozen = root / "frozen"
    shutil.copytree(plain, frozen)
    (frozen / "manifest.csv").unlink()
    found = read_testset(plain)
    items = [
        {
            "id": item.id,
            "sha256_noisy": verifying.sha256(item.noisy),
            "sha256_target": verifying.sha256(item.target),
            "seconds": 0.5,
            "condition": "noise",
            **{
                "snr_db": 5.0,
                "speech": "k",
                "speaker": "s",
                "noise": None,
                "t60": 0.5,
                "text": "one",
            },
        }
        for item in found.items
    ]
    head = {
        "schema": 1,
        "name": "f",
        "sample_rate": RATE,
        "count": 2,
        "target": "early",
        "early_ms": 50.0,
    }
    contents = {"speech": {"k": ["00", "11"]}, "noise": {}, "rir": {}}
    whole = {
        **head,
        "seed": 1,
        "contents": contents,
        "list_sha256": found.list_sha256,
        "items": items,
    }
    (frozen / "testset.json").write_text(json.dumps(whole))
    return plain, frozen


def _use_set(folder: Path) -> None:
    refused = []
    for read in (read_testset, verifying.summary):
        try:
            read(folder)
        except RasedError as error:
            refused.append(error)
    if (folder / "testset.json").is_file():
        assert all(str(problem).isprintable() for problem in verifying.verify([folder]).problems)
    if refused:
        raise refused[0]


def test_frozen_sets(testset):
    folder = testset[1]
    path, data = folder / "testset.json", (folder / "testset.json").read_bytes()
    content = json.loads(data)
    _use_set(folder)
    try:
        for number in range(COUNT):
            random = _random(3, number)
            for damaged in (
                fuzz.mutated_bytes(data, random),
                fuzz.dumped(fuzz.mutated_json(content, random)),
            ):
                path.write_bytes(damaged)
                fuzz.assert_clean(lambda: _use_set(folder), folder)
        for plain in _each_place(content):
            path.write_bytes(fuzz.dumped(plain))
            fuzz.assert_clean(lambda: _use_set(folder), folder)
    finally:
        path.write_bytes(data)


def test_manifests_of_test_sets(testset):
    folder = testset[0]
    path, data = folder / "manifest.csv", (folder / "manifest.csv").read_bytes()
    try:
        for number in range(COUNT):
            path.write_bytes(fuzz.mutated_bytes(data, _random(4, number)))
            fuzz.assert_clean(lambda: read_testset(folder), folder)
    finally:
        path.write_bytes(data)


def _rehashed(content) -> bytes:
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key != "content_sha256"}
        content["content_sha256"] = results._digest(content)
    return fuzz.dumped(content)


@pytest.mark.usefixtures("little_cost")
def test_results(testset, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    evaluate(["noisy", "log-mmse"], testset[0], out, metrics=["si-sdr", "stoi"])
    path = out / "log-mmse--plain.json"
    data = path.read_bytes()
    content = json.loads(data)

    def use() -> None:
        rows = collect([out])
        for board in boards(rows):
            for metric in board.metrics:
                worst(board, metric, 3)
                for fact in KNOWN:
                    with contextlib.suppress(RasedError):
                        by_condition(board, metric, fact)
        json.dumps(as_plain(rows))
        markdown(rows)

    use()
    for number in range(COUNT):
        random = _random(5, number)
        for damaged in (
            fuzz.mutated_bytes(data, random),
            _rehashed(fuzz.mutated_json(content, random)),
        ):
            path.write_bytes(damaged)
            fuzz.assert_clean(use, out)
    for plain in _each_place(content):
        path.write_bytes(_rehashed(plain))
        fuzz.assert_clean(use, out)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    shards = Shards(root, "flac")
    path = root / "out" / "frames.h5"
    write_frames(Recordings([shards.folder]), Framing(Features(), STFT(), RATE), path)
    return path


def _use_frames(path: Path) -> None:
    file = FrameFile(path)
    file.names(0, len(file))
    for name in file.splits:
        file.split(name)
    for stream in file.streams:
        file.windows(stream, np.arange(min(3, file.count)), past=1, future=1)
        file.utterance(stream, 0)


def test_frame_files(frames):
    data = frames.read_bytes()
    _use_frames(frames)
    for number in range(max(12, COUNT // 10)):
        random = _random(6, number)
        end = 4096 if number % 2 else len(data)
        frames.write_bytes(fuzz.mutated_bytes(data[:end], random) + data[end:])
        fuzz.assert_clean(lambda: _use_frames(frames), frames.parent)
    frames.write_bytes(data)


def test_each_place_of_the_json_in_a_frame_file(frames):
    data = frames.read_bytes()
    with h5py.File(frames) as file:
        kept = {name: json.loads(file.attrs[name]) for name in ("configuration", "splits")}
    numbers = range(0, 60, 4)
    for name, content in kept.items():
        ways = list(fuzz.places(content))
        for number in numbers:
            damaged = fuzz.with_value(
                content, ways[number % len(ways)], fuzz.PAYLOADS[number % len(fuzz.PAYLOADS)]
            )
            frames.write_bytes(data)
            with h5py.File(frames, "r+") as file:
                file.attrs[name] = json.dumps(damaged)[:60_000]
            probe.trust(frames)  # HDF5 itself wrote it: a process that looks for hangs adds nothing
            fuzz.assert_clean(lambda: _use_frames(frames), frames.parent)
    frames.write_bytes(data)

"""Verification: every kind of damage is named, and a repair keeps each good sample as it is."""

import csv
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rased.cli import main
from rased.data.integrity.repair import DAMAGED, DROPPED, repair
from rased.data.integrity.verify import find, summary, verify
from rased.data.preparation.pack import pack
from rased.data.shards.folder import writing
from rased.data.shards.index import bundle, read_index
from rased.data.shards.reader import Reader
from rased.data.shards.tars import describe, read_shard
from rased.errors import RasedError

RATE = 16_000


@pytest.fixture(params=["flac", "pcm16"], scope="module")
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several shards of 18 samples in three splits, speakers disjoint."""
    tmp_path = tmp_path_factory.mktemp("packed")
    for number in range(18):
        split = ("train", "valid", "test")[number % 3]
        path = tmp_path / "in" / split / f"{split}{number % 2}" / f"{number:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * np.random.default_rng(number).standard_normal(3000)
        soundfile.write(path, samples, RATE, "PCM_16")
    pack([tmp_path / "in"], tmp_path / "shards", role="speech", codec=request.param, shard_mb=0.025)
    return tmp_path / "shards"


@pytest.fixture
def shards(packed: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(packed, tmp_path / "shards")


def samples(folder: Path) -> dict[str, bytes]:
    index = read_index(folder)
    reader = Reader(index)
    return {str(key): reader.raw(row) for row, key in enumerate(index.columns["key"])}


REPEATED = ("split", "label", "licence", "frames")


def facts(folder: Path) -> dict[str, dict[str, object]]:
    """What the index says of each sample, by key."""
    index = read_index(folder)
    columns = {name: index.values(name) for name in REPEATED}
    columns["licence"] = [index.licences[code] for code in columns["licence"]]
    rows = (dict(zip(REPEATED, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return dict(zip(index.values("key"), rows, strict=True))


def place(folder: Path, row: int) -> tuple[Path, int, str]:
    """The shard, the offset of the audio and the key of a row."""
    index = read_index(folder)
    shard = folder / index.shards[int(index.columns["shard"][row])].name
    return shard, int(index.columns["offset"][row]), str(index.columns["key"][row])


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.chmod(0o644)
    file.write_bytes(data)


def problems(*folders: Path) -> list[str]:
    return [str(problem) for problem in verify(list(folders)).problems]


def flipped_audio(folder: Path) -> tuple[str, set[str]]:
    shard, offset, key = place(folder, 4)
    flip(shard, offset + 900)
    return f"sample {key} in {shard.name} is damaged: its bytes have changed since packing", {key}


def flipped_header(folder: Path) -> tuple[str, set[str]]:
    shard, offset, key = place(folder, 4)
    flip(shard, offset - 512 + 3)
    return f"sample {key} in {shard.name} is damaged: its audio is missing", {key}


def flipped_json(folder: Path) -> tuple[str, set[str]]:
    shard, _, key = place(folder, 4)
    flip(shard, shard.read_bytes().index(b'{"key":"' + key.encode()) + 1)
    return f"sample {key} in {shard.name} is damaged: its json cannot be read", {key}


def truncated(folder: Path) -> tuple[str, set[str]]:
    shard, offset, key = place(folder, 4)
    index = read_index(folder)
    shard.write_bytes(shard.read_bytes()[: offset + 700])
    same = index.columns["shard"] == index.columns["shard"][4]
    behind = same & (index.columns["offset"] >= offset)
    return (
        f"sample {key} in {shard.name} is damaged: the file is truncated inside it",
        set(index.columns["key"][behind].tolist()),
    )


def without_end(folder: Path) -> tuple[str, set[str]]:
    """Cut where a member ends: `tarfile` and WebDataset do not notice."""
    shard, offset, _ = place(folder, 4)
    index = read_index(folder)
    shard.write_bytes(shard.read_bytes()[: offset - 512])
    same = index.columns["shard"] == index.columns["shard"][4]
    behind = same & (index.columns["offset"] >= offset)
    return "the end of a tar file is missing", set(index.columns["key"][behind].tolist())


def missing_shard(folder: Path) -> tuple[str, set[str]]:
    shard, _, _ = place(folder, 4)
    lost = {stored.details["key"] for stored in read_shard(shard)}
    shard.unlink()
    return (
        f"{shard.name} is in the index, but missing from the folder, with {len(lost)} samples",
        lost,
    )


def unknown_shard(folder: Path) -> tuple[str, set[str]]:
    path = folder / "index.json"
    stored = json.loads(path.read_text())
    keep = [
        row
        for row, shard in enumerate(stored["columns"]["shard"])
        if shard < len(stored["shards"]) - 1
    ]
    stored["columns"] = {
        name: [column[row] for row in keep] for name, column in stored["columns"].items()
    }
    stored["samples"] = len(keep)
    dropped = stored["shards"].pop()
    path.write_text(json.dumps(stored))
    return f"{dropped['name']} is in the folder, but not in the index", set()


def no_index(folder: Path) -> tuple[str, set[str]]:
    (folder / "index.json").unlink()
    return "index.json is missing", set()


def broken_index(folder: Path) -> tuple[str, set[str]]:
    path = folder / "index.json"
    path.write_text(path.read_text()[:500])
    return "index.json is damaged", set()


def wrong_offsets(folder: Path) -> tuple[str, set[str]]:
    path = folder / "index.json"
    stored = json.loads(path.read_text())
    stored["columns"]["offset"][4] += 512
    path.write_text(json.dumps(stored))
    return f"the index is wrong about sample {stored['columns']['key'][4]}", set()


def wrong_hash(folder: Path) -> tuple[str, set[str]]:
    """The index is at fault, not the sample: the shard's own hash tells."""
    path = folder / "index.json"
    stored = json.loads(path.read_text())
    stored["columns"]["sha256"][4] = "0" * 64
    path.write_text(json.dumps(stored))
    return "sha256 is ", set()


DAMAGES: list[Callable[[Path], tuple[str, set[str]]]] = [
    flipped_audio,
    flipped_header,
    flipped_json,
    truncated,
    without_end,
    missing_shard,
    unknown_shard,
    no_index,
    broken_index,
    wrong_offsets,
    wrong_hash,
]


class TestDamage:
    def test_a_whole_folder_has_no_problems(self, shards: Path):
        checked = verify([shards])
        assert checked.problems == ()
        assert checked.samples == 18

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_is_named_with_its_repair(self, shards: Path, damage: Callable):
        what, _ = damage(shards)
        found = problems(shards)
        assert [problem for problem in found if what in problem], found
        assert all("Repair: " in problem and "verify" in problem for problem in found)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_is_mended_without_touching_what_is_good(self, shards: Path, damage: Callable):
        before = samples(shards)
        _, lost = damage(shards)
        done = repair(shards)
        assert done
        assert problems(shards) == []
        assert samples(shards) == {key: audio for key, audio in before.items() if key not in lost}
        if lost:
            dropped = {entry["key"] for entry in json.loads((shards / DROPPED).read_text())}
            assert dropped - {""} == lost
        else:
            assert not (shards / DROPPED).exists()
            assert not list(shards.glob("*" + DAMAGED))
        assert repair(shards) == []

    @pytest.mark.parametrize("seed", range(12))
    def test_any_flipped_byte_costs_at_most_its_sample(self, shards: Path, seed: int):
        random = np.random.default_rng(seed)
        before = samples(shards)
        shard = sorted(shards.glob("*.tar"))[random.integers(5)]
        end = shard.read_bytes().rstrip(b"\0")
        flip(shard, int(random.integers(len(end))))
        found = problems(shards)
        assert any(shard.name in problem for problem in found)
        repair(shards)
        assert problems(shards) == []
        after = samples(shards)
        assert len(before) - len(after) <= 1
        assert after.items() <= before.items()

    def test_no_flipped_byte_of_a_json_changes_what_is_known(self, tmp_path: Path):
        for name in ("a", "b"):
            soundfile.write(tmp_path / f"{name}.wav", np.full(40, 0.1), RATE, "PCM_16")
        folder = tmp_path / "shards"
        pack([tmp_path], folder, role="speech", codec="pcm16")
        shard, index = folder / "train-000000.tar", folder / "index.json"
        before, whole, listed = facts(folder), shard.read_bytes(), index.read_bytes()
        details = {stored.details["key"]: stored.details for stored in read_shard(shard)}
        start = whole.index(b'{"key":"b"')
        for at in range(start, start + len(describe(details["b"]))):
            flip(shard, at)
            repair(folder)
            after = facts(folder)
            assert after == {key: before[key] for key in after}
            assert "a" in after
            for stored in read_shard(shard):
                said = {name: stored.details[name] for name in REPEATED}
                assert said == before[stored.details["key"]]
            for aside in folder.glob("*" + DAMAGED):
                aside.unlink()
            shard.write_bytes(whole)
            index.write_bytes(listed)

    @pytest.mark.parametrize("name", ["label", "split", "licence", "frames"])
    def test_a_flipped_byte_of_a_json_is_mended_from_the_index(self, shards: Path, name: str):
        shard, _, key = place(shards, 4)
        before = facts(shards)
        start = shard.read_bytes().index(b'{"key":"' + key.encode())
        value = shard.read_bytes().index(f'"{name}":'.encode(), start) + len(f'"{name}":')
        data = bytearray(shard.read_bytes())
        data[value + 1] ^= 1
        shard.chmod(0o644)
        shard.write_bytes(data)
        (problem,) = [what for what in problems(shards) if key in what]
        assert f"sample {key} in {shard.name} is damaged: its json says {name} " in problem
        (what, *_) = repair(shards)
        assert "the json of 1 from the index" in what
        assert facts(shards) == before
        assert problems(shards) == []
        assert (shards / f"{shard.name}{DAMAGED}").read_bytes() == data

    def test_a_whole_shard_is_right_where_the_index_is_not(self, shards: Path):
        before = facts(shards)
        path = shards / "index.json"
        stored = json.loads(path.read_text())
        stored["columns"]["label"][4] = "nobody"
        path.write_text(json.dumps(stored))
        assert any("the index is wrong about sample" in problem for problem in problems(shards))
        repair(shards)
        assert facts(shards) == before

    def test_a_doubled_shard(self, shards: Path):
        before = samples(shards)
        first = sorted(shards.glob("*.tar"))[0]
        (shards / "train-000009.tar").write_bytes(first.read_bytes())
        assert any("occurs twice" in problem for problem in problems(shards))
        repair(shards)
        assert problems(shards) == []
        assert samples(shards) == before

    def test_rubbish_in_place_of_a_shard(self, shards: Path):
        before = samples(shards)
        (shards / "train-000009.tar").write_bytes(b"no tar at all" * 1000)
        assert any("train-000009.tar is damaged" in problem for problem in problems(shards))
        repair(shards)
        assert problems(shards) == []
        assert samples(shards) == before
        assert (shards / f"train-000009.tar{DAMAGED}").read_bytes() == b"no tar at all" * 1000

    def test_nothing_good_left_is_refused(self, tmp_path: Path):
        (tmp_path / "train-000000.tar").write_bytes(b"no tar at all" * 1000)
        with pytest.raises(RasedError, match="has no good samples"):
            repair(tmp_path)
        assert (tmp_path / "train-000000.tar").exists()

    def test_a_full_disk_is_one_sentence_and_loses_nothing(
        self, shards: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
    ):
        folder = shutil.copytree(shards, small_disk / "shards")
        _, lost = flipped_audio(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with suppress(OSError), (small_disk / "filling").open("wb", buffering=0) as filling:
            while filling.write(bytes(4096)):
                pass
        assert main(["data", "verify", str(folder), "--repair"]) == 2
        said = capsys.readouterr().err
        assert "no space left on device. Nothing is lost: free some space, and run the same" in said
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert left == before
        (small_disk / "filling").unlink()
        assert main(["data", "verify", str(folder), "--repair"]) == 0
        assert len(read_index(folder)) == 18 - len(lost)

    def test_a_folder_that_is_being_written_is_left_alone(self, shards: Path):
        flipped_audio(shards)
        with writing(shards), pytest.raises(RasedError, match="Another process is writing into"):
            repair(shards)
        assert repair(shards)

    def test_leftovers_of_a_cut_off_run(self, shards: Path):
        (shards / "train-000007.tar.part").write_bytes(b"half")
        assert any("left by an interrupted run" in problem for problem in problems(shards))


class TestOverlap:
    def pack(self, folder: Path, rows: list[tuple[str, str, str]], *, role: str = "speech") -> Path:
        """Shards of (split, label, note) rows, each a recording of its own unless the notes are equal."""
        folder.mkdir(parents=True)
        with (folder / "manifest.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "split", "label", "note"])
            for number, (split, label, note) in enumerate(rows):
                seed = int(note) if note.isdigit() else 1000 + number
                audio = 0.1 * np.random.default_rng(seed).standard_normal(2000)
                soundfile.write(folder / f"{number}.wav", audio, RATE, "PCM_16")
                writer.writerow([f"{number}.wav", split, label, note])
        pack([folder], folder / "shards", role=role)
        return folder / "shards"

    @pytest.mark.parametrize(("role", "word"), [("speech", "speaker"), ("rir", "room")])
    def test_a_label_in_two_splits(self, tmp_path: Path, role: str, word: str):
        rows = [("train", "anna", "x"), ("test", "anna", "y"), ("valid", "bert", "z")]
        (problem,) = problems(self.pack(tmp_path / "a", rows, role=role))
        assert f"the {role} splits test and train share 1 {word}(s): anna" in problem

    def test_types_of_noise_may_recur_and_recordings_may_not(self, tmp_path: Path):
        rows = [("train", "rain", "1"), ("test", "rain", "2")]
        assert problems(self.pack(tmp_path / "a", rows, role="noise")) == []
        rows = [("train", "rain", "1"), ("test", "storm", "1")]
        (problem,) = problems(self.pack(tmp_path / "b", rows, role="noise"))
        assert "share 1 recording(s)" in problem

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("clip A of freesound.org/s/4711", "freesound.org/people/me/sounds/4711/"),
            ("ambience/rain.ogg, excerpt 0", "ambience/rain.ogg, excerpt 1"),
            ('Original "in the rain 2.wav" by me', 'cut from "in the rain 2.wav"'),
        ],
    )
    def test_cuts_of_one_source_recording(self, tmp_path: Path, first: str, second: str):
        rows = [("train", "rain", first), ("valid", "rain", second)]
        (problem,) = problems(self.pack(tmp_path / "a", rows, role="noise"))
        assert "the noise splits train and valid share 1 source recording(s)" in problem

    def test_other_files_of_one_source_are_fine(self, tmp_path: Path):
        rows = [
            ("train", "a", 'Original "in the rain 2.wav"'),
            ("test", "b", 'Original "bus 2.wav"'),
        ]
        assert problems(self.pack(tmp_path / "a", rows, role="noise")) == []

    def test_splits_are_compared_over_folders(self, tmp_path: Path):
        first = self.pack(tmp_path / "a", [("train", "anna", "1")])
        second = self.pack(tmp_path / "b", [("test", "anna", "2")])
        assert problems(first) == problems(second) == []
        (problem,) = problems(first, second)
        assert "share 1 speaker(s): anna" in problem


class TestCommands:
    def test_verify_says_what_is_wrong_and_mends_it(
        self, shards: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert main(["data", "verify", str(shards)]) == 0
        assert f"whole: 18 samples in {shards}" in capsys.readouterr().out
        what, _ = flipped_audio(shards)
        assert main(["data", "verify", str(shards)]) == 1
        said = capsys.readouterr()
        assert what in said.out
        assert said.err.startswith("rased: 1 problem(s) in 18 samples")
        assert main(["data", "verify", str(shards), "--json"]) == 1
        found = json.loads(capsys.readouterr().out)["problems"]
        assert what in found[0]["what"]
        assert "--repair" in found[0]["repair"]
        assert main(["data", "verify", str(shards), "--repair"]) == 0
        said = capsys.readouterr().out
        assert "was rewritten with its" in said
        assert "whole: 17 samples" in said

    def test_info_adds_up(self, shards: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["data", "info", str(shards), "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert [row["split"] for row in found["splits"]] == ["train", "valid", "test"]
        assert [row["files"] for row in found["splits"]] == [6, 6, 6]
        assert sum(row["seconds"] for row in found["splits"]) == pytest.approx(
            18 * 3000 / RATE, abs=2e-3
        )
        assert [row["labels"] for row in found["splits"]] == [2, 2, 2]
        assert main(["data", "info", str(shards)]) == 0
        assert "speech, " in capsys.readouterr().out

    def test_nothing_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert main(["data", "info", str(tmp_path)]) == 2
        assert "contains no shards" in capsys.readouterr().err
        assert main(["data", "verify", str(tmp_path / "x")]) == 2
        assert "is not a folder" in capsys.readouterr().err

    @pytest.mark.parametrize("verb", ["", "pack", "info", "verify", "freeze", "stream"])
    def test_help_has_an_example(self, verb: str, capsys: pytest.CaptureFixture[str]):
        assert main(["data", *verb.split(), "--help"]) == 0
        assert f"rased data {verb}" in capsys.readouterr().out


class TestBundle:
    """The corpus that comes with the package."""

    def test_every_byte_is_right_and_no_split_overlaps(self):
        checked = verify(find("bundle"))
        assert checked.problems == ()
        assert [path.name for path in checked.folders] == ["frozen", "noise", "rir", "speech"]

    def test_holds_what_its_manifest_says(self):
        with (bundle() / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        wanted = {(row["role"], row["path"]): row for row in rows}
        seen = set()
        for role in ("speech", "noise", "rir"):
            for shard in sorted((bundle() / role).glob("*.tar")):
                for stored in read_shard(shard):
                    details = stored.details
                    row = wanted[role, details["path"]]
                    seen.add((role, details["path"]))
                    for name in ("split", "label", "licence", "source", "note"):
                        assert details[name] == row[name]
                    assert details["seconds"] == pytest.approx(float(row["seconds"]), abs=1e-3)
                    assert details["gain_db"] == 0
        assert seen == wanted.keys()

    def test_licences_come_along(self):
        text = (bundle() / "LICENSES.md").read_text()
        for role in ("speech", "noise", "rir"):
            stored = json.loads((bundle() / role / "index.json").read_text())
            assert (bundle() / role / stored["attribution"]).read_text() == text
            assert "unknown" not in stored["licences"]

    def test_most_test_noise_is_of_unseen_types(self):
        index = read_index(bundle() / "noise")
        types = {s: set(index.columns["label"][index.rows(s)]) for s in ("train", "valid", "test")}
        assert len(types["test"] - types["train"] - types["valid"]) >= 6

    def test_is_smaller_than_50_megabytes(self):
        assert sum(path.stat().st_size for path in bundle().rglob("*") if path.is_file()) < 50e6

    def test_info_knows_it_by_name(self):
        hours = {
            found.get("role"): sum(row["seconds"] for row in found["splits"])
            for found in summary("bundle")
        }
        assert hours["speech"] == pytest.approx(1000.26, abs=0.01)
        assert hours["noise"] == pytest.approx(454.2, abs=0.01)

"""Recordings of one's own: packed as they come, divided into train and valid, verified, trained on."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from rased.cli import main
from rased.data.corpora.listing import collect
from rased.data.preparation.pack import pack
from rased.data.preparation.waveform import read_mono
from rased.data.shards.index import read_index
from rased.data.shards.reader import Reader
from rased.errors import RasedError
from tests.audio.material import RATE, WHOLE, bursts, ending

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "rased" / "assets" / "bundle"


def recordings(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            kind = Path(name).suffix[1:].upper()
            soundfile.write(file, bursts(2000, seed=number), RATE, format=kind, subtype="PCM_16")
    return folder


def splits(folder: Path, share: float) -> dict[str, tuple[str, str]]:
    listing = collect([folder], role="speech", valid_share=share)
    return {source.path: (source.split, source.label) for source in listing.sources}


class TestValidShare:
    @pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.9])
    @pytest.mark.parametrize("labels", [2, 3, 10, 60])
    def test_labels_are_divided_whole_and_neither_split_is_empty(
        self, tmp_path: Path, labels: int, share: float
    ):
        names = [f"spk{label}/{number}.wav" for label in range(labels) for number in range(2)]
        recordings(tmp_path, *names)
        found = splits(tmp_path, share)
        by_split = {
            split: {label for which, label in found.values() if which == split}
            for split in ("train", "valid")
        }
        assert by_split["train"]
        assert by_split["valid"]
        assert not by_split["train"] & by_split["valid"]
        if labels == 60:
            assert len(by_split["valid"]) == pytest.approx(60 * share, abs=12)
        assert found == splits(tmp_path, share)

    def test_a_label_keeps_its_split_when_others_come(self, tmp_path: Path):
        recordings(tmp_path, *(f"spk{label}/0.wav" for label in range(40)))
        before = splits(tmp_path, 0.3)
        recordings(tmp_path, *(f"other{label}/0.wav" for label in range(40)))
        assert before.items() <= splits(tmp_path, 0.3).items()

    def test_recordings_of_one_label_are_divided_and_it_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        folder = recordings(tmp_path / "mine", *(f"{number}.wav" for number in range(12)))
        found = Counter(splits(folder, 0.1).values())
        assert set(found) == {("train", "mine"), ("valid", "mine-valid")}
        words = ["data", "pack", str(folder), "--out", str(tmp_path / "out"), "--role", "speech"]
        assert main(words) == 0
        said = capsys.readouterr().out
        assert re.search(r"\d of 12 recordings are in the split valid.*may share speakers", said)

    def test_a_single_recording_stays_in_train(self, tmp_path: Path):
        recordings(tmp_path, "a.wav")
        assert {split for split, _ in splits(tmp_path, 0.5).values()} == {"train"}

    def test_what_names_a_split_is_left_alone(self, tmp_path: Path):
        names = [f"train/spk{n}/0.wav" for n in range(9)] + ["valid/x/0.wav", "loose/0.wav"]
        recordings(tmp_path, *names)
        found = splits(tmp_path, 0.9)
        assert {path for path, (split, _) in found.items() if split == "valid"} == {"valid/x/0.wav"}

    def test_an_explicit_split_takes_all(self, tmp_path: Path):
        folder = recordings(tmp_path / "in", *(f"{n}/0.wav" for n in range(9)))
        words = ["data", "pack", str(folder), "--role", "speech", "--out"]
        assert main([*words, str(tmp_path / "a"), "--split", "train"]) == 0
        assert main([*words, str(tmp_path / "b"), "--split", "test"]) == 0
        assert main([*words, str(tmp_path / "c"), "--valid-share", "0"]) == 0
        assert main([*words, str(tmp_path / "d"), "--valid-share", "0.5"]) == 0
        found = [set(read_index(tmp_path / name).columns["split"]) for name in "abcd"]
        assert found == [{"train"}, {"test"}, {"train"}, {"train", "valid"}]

    @pytest.mark.parametrize("share", ["1", "-0.1", "nan"])
    def test_shares_that_make_no_sense_are_refused(self, tmp_path: Path, share: str):
        folder = recordings(tmp_path / "in", "a.wav")
        words = ["data", "pack", str(folder), "--role", "speech", "--out", str(tmp_path / "o")]
        assert main([*words, "--valid-share", share]) == 2


class TestThePageOnData:
    """The four lines of "Bring your own recordings", on real speech in each layout that people have."""

    @pytest.mark.parametrize("layout", ["flat", "one speaker", "speakers"])
    def test_own_data_word_for_word(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WANDB_MODE", "disabled")
        for role, folder in (("speech", "my-speech"), ("noise", "my-noise")):
            self.unpack(role, tmp_path / folder, layout)
        page = (ROOT / "docs" / "data.md").read_text()
        text = page.split("## Bring your own recordings")[1].split("```")[1]
        lines = [line.split("  #")[0].split() for line in text.strip().splitlines()]
        assert [words[:3] for words in lines[:3]] == [
            ["rased", "data", "pack"],
            ["rased", "data", "pack"],
            ["rased", "data", "verify"],
        ]
        for words in lines[:3]:
            assert main([word.strip("'") for word in words[1:]]) == 0
        train = [word.strip("'") for word in lines[3][1:]]
        assert train[0] == "train"
        if layout != "flat":
            return
        short = "--trainer.max_steps 1 --trainer.limit_val_batches 1 --trainer.accelerator cpu --data.batch_size 2"
        short += " --data.scene.segment 1.0 --data.num_workers 0 --run.examples 0 --run.evaluate []"
        assert main([*train, *short.split()]) == 0
        (checkpoint,) = (tmp_path / "runs").glob("*/checkpoints/last.ckpt")
        assert checkpoint.stat().st_size

    def unpack(self, role: str, folder: Path, layout: str) -> None:
        reader = Reader(read_index(BUNDLE / role))
        columns = reader.index.columns
        for row in range(0, len(columns["key"]), 12 if role == "speech" else 6):
            inside = {"flat": "", "one speaker": "anna", "speakers": columns["label"][row]}[layout]
            path = folder / inside / f"{row:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, reader.read(row), RATE, subtype="PCM_16")


class TestWhatIsPacked:
    def test_every_shape_of_file_that_is_whole_is_packed(self, tmp_path: Path):
        for number, (name, (make, _)) in enumerate(WHOLE.items()):
            path = tmp_path / "in" / f"{number:02d}{ending(name)}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(make())
        packed = pack([tmp_path / "in"], tmp_path / "out", role="speech", codec="pcm16")
        assert packed.skipped == ()
        frames = read_index(tmp_path / "out").columns["frames"]
        for length, (name, (_, wanted)) in zip(frames, WHOLE.items(), strict=True):
            assert wanted in (None, length), name

    def test_a_bad_file_never_stops_the_others_and_its_reason_is_listed(self, tmp_path: Path):
        folder = recordings(tmp_path / "in", "a.wav", "b.wav")
        (folder / "x.raw").write_bytes(bytes(1000))
        (folder / "caf\udce9.wav").write_bytes(b"text")
        (folder / "loop.wav").symlink_to("loop.wav")
        (folder / "gone.flac").symlink_to("nowhere")
        (folder / "video.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
        (folder / "manifest.txt").write_text("not audio by its name")
        assert (
            main(["data", "pack", str(folder), "--out", str(tmp_path / "o"), "--role", "rir"]) == 1
        )
        listed = json.loads((tmp_path / "o" / "skipped.json").read_text())
        reasons = {entry["path"]: entry["reason"] for entry in listed}
        assert set(reasons) == {"x.raw", "caf\\xe9.wav", "loop.wav", "gone.flac", "video.mp4"}
        assert reasons["x.raw"].startswith("is not audio")
        assert reasons["caf\\xe9.wav"].startswith("is not audio")
        assert reasons["gone.flac"].startswith("does not exist")
        assert "symbolic links" in reasons["loop.wav"]
        assert "ffmpeg" in reasons["video.mp4"]
        assert set(read_index(tmp_path / "o").columns["key"]) == {"a", "b"}

    def test_a_raw_file_in_a_manifest_or_given_alone_is_a_line_of_the_list(self, tmp_path: Path):
        folder = recordings(tmp_path / "in", "a.wav")
        (folder / "x.raw").write_bytes(bytes(1000))
        (folder / "manifest.csv").write_text("path\na.wav\nx.raw\n")
        for number, given in enumerate(([folder], [folder / "a.wav", folder / "x.raw"])):
            packed = pack(given, tmp_path / str(number), role="speech")
            assert [entry.path for entry in packed.skipped] == ["x.raw"]
            assert packed.samples == 1

    def test_names_that_are_not_utf_8_are_packed_with_equal_bytes_each_time(self, tmp_path: Path):
        folder = recordings(tmp_path / "in", "caf\udce9.wav", "caf\udce8.wav", "sp\udcff/1.wav")
        outs = [tmp_path / "one", tmp_path / "two"]
        for out in outs:
            assert pack([folder], out, role="speech").samples == 3
        index = read_index(outs[0])
        assert all(key.isascii() for key in index.columns["key"])
        assert len(set(index.columns["key"])) == 3
        assert "sp\\xff" in set(index.columns["label"])
        for path in outs[0].glob("*.tar"):
            assert path.read_bytes() == (outs[1] / path.name).read_bytes()
        assert main(["data", "verify", str(outs[0])]) == 0
        words = [
            "data",
            "pack",
            str(folder),
            "--out",
            str(tmp_path / "o\udce9"),
            "--role",
            "speech",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "rased", *words], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def test_what_is_unusual_about_a_file_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.wav").write_bytes(WHOLE["wav recorder died"][0]())
        words = [
            "data",
            "pack",
            str(tmp_path / "in"),
            "--out",
            str(tmp_path / "p"),
            "--role",
            "noise",
        ]
        assert main(words) == 0
        assert "'a.wav': its header gives no length: read to the end" in capsys.readouterr().out

    def test_links_to_folders_bring_nothing_twice(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        folder = recordings(tmp_path / "d", "spk1/a.wav")
        (folder / "spk1" / "loop").symlink_to("..")
        (folder / "current").symlink_to(".")
        words = ["data", "pack", str(folder), "--out", str(tmp_path / "p"), "--role", "speech"]
        assert main(words) == 0
        said = capsys.readouterr().out
        assert ": 1 samples," in said
        assert "passed over: 2 links to folders that were already visited" in said

    def test_equal_stems_in_folders_and_formats_get_keys_of_their_own(self, tmp_path: Path):
        folder = recordings(
            tmp_path / "in", "x/a.wav", "y/a.wav", "x/a.flac", "deep/" * 12 + "a.wav"
        )
        packed = pack([folder], tmp_path / "out", role="speech")
        assert packed.samples == 4
        assert len(set(read_index(tmp_path / "out").columns["key"])) == 4

    def test_an_absurd_rate_costs_nothing(self, tmp_path: Path):
        folder = recordings(tmp_path / "in", "a.wav", "b.wav")
        data = bytearray((folder / "b.wav").read_bytes())
        data[24:28] = (1).to_bytes(4, "little")
        (folder / "b.wav").write_bytes(data)
        packed = pack([folder], tmp_path / "out", role="speech")
        (skipped,) = packed.skipped
        assert "has a sample rate of 1 Hz; allowed are 1000 to 768000 Hz" in skipped.reason

    def test_a_folder_that_cannot_be_read_is_named(self, tmp_path: Path, monkeypatch):
        folder = recordings(tmp_path / "in", "a/a.wav", "b/b.wav")
        shutil.rmtree(folder / "b")
        (folder / "b").mkdir()
        (folder / "b").chmod(0)
        if (folder / "b").stat().st_uid == 0:
            real = os.scandir

            def refuse(path):
                if str(path).endswith("/b"):
                    raise PermissionError(13, "Permission denied")
                return real(path)

            monkeypatch.setattr("os.scandir", refuse)
        with pytest.raises(RasedError, match=r"/b' cannot be read: permission denied"):
            collect([folder], role="speech")


def test_resampled_bytes_are_what_soxr_gives_for_the_whole(tmp_path: Path):
    """Recordings are known again by the hash of their samples: the length and every bit stay as soxr makes them."""
    for rate, length in ((44_100, 30_001), (48_000, 20_000), (8_000, 777), (11_025, 5)):
        signal = bursts(length).astype(np.float32)
        soundfile.write(tmp_path / "a.wav", signal, rate, subtype="FLOAT")
        found = read_mono(tmp_path / "a.wav", sample_rate=RATE)[0]
        stream = soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="VHQ")
        np.testing.assert_array_equal(found, stream.resample_chunk(signal[:, 0], last=True))

"""Packing: what goes in comes out, whatever its format; bad files are named; a cut-off run goes on."""

import csv
import gc
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

from rased.audio import BadAudioError
from rased.cli import main
from rased.data.corpora.listing import collect
from rased.data.integrity.verify import verify
from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.encoding import encode, encode_blocks
from rased.data.preparation.pack import pack
from rased.data.preparation.waveform import decode
from rased.data.shards.index import bundle, read_index
from rased.data.shards.reader import Reader
from rased.data.shards.reader import decode as stored
from rased.data.shards.tars import read_shard
from rased.disk import PART
from rased.errors import ProblemsFound, RasedError
from tests.forks import ended, started

RATE = 16_000


def tone(
    frequency: float, *, seconds: float = 0.5, rate: int = RATE, level: float = 0.4
) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def noise(seconds: float, seed: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def corpus(folder: Path, *, files: int = 12, seconds: float = 0.25) -> Path:
    """Three splits, two speakers each, 16-bit FLAC of noise that is different everywhere."""
    for number in range(files):
        split = ("train", "valid", "test")[number % 3]
        path = folder / split / f"{split}{number % 2}" / f"{number:03d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(seconds, number), RATE, subtype="PCM_16")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class TestSamples:
    @pytest.mark.parametrize("codec", ["flac", "pcm16"])
    def test_sixteen_bit_survives_bit_for_bit(self, tmp_path: Path, codec: str):
        samples = np.random.default_rng(0).integers(-32768, 32768, 5001).astype(np.int16)
        samples[:2] = (-32768, 32767)
        soundfile.write(tmp_path / "a.flac", samples, RATE, subtype="PCM_16")
        pack([tmp_path / "a.flac"], tmp_path / "out", role="speech", codec=codec)
        index = read_index(tmp_path / "out")
        assert np.array_equal(Reader(index).read(0) * 32768, samples)
        assert index.columns["frames"][0] == 5001

    @pytest.mark.parametrize(
        ("name", "rate", "options"),
        [
            ("8bit.wav", 16_000, {"subtype": "PCM_U8"}),
            ("24bit.wav", 16_000, {"subtype": "PCM_24"}),
            ("24bit.flac", 48_000, {"subtype": "PCM_24"}),
            ("float.wav", 44_100, {"subtype": "FLOAT"}),
            ("double.aiff", 22_050, {"subtype": "DOUBLE"}),
            ("high.wav", 192_000, {"subtype": "PCM_16"}),
            ("low.wav", 8_000, {"subtype": "PCM_16"}),
            ("law.au", 16_000, {"subtype": "ULAW"}),
            ("vorbis.ogg", 48_000, {"format": "OGG", "subtype": "VORBIS"}),
            ("opus.opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
            ("mp3.mp3", 44_100, {"format": "MP3", "subtype": "MPEG_LAYER_III"}),
        ],
    )
    @pytest.mark.parametrize("channels", [1, 2])
    def test_a_tone_keeps_frequency_level_and_length(
        self, tmp_path: Path, name: str, rate: int, options: dict, channels: int
    ):
        waveform = tone(440, seconds=1, rate=rate)
        stereo = np.stack([waveform] * channels, axis=1)
        soundfile.write(tmp_path / name, stereo, rate, **options)
        samples = decode(tmp_path / name, sample_rate=RATE).samples / 32768
        assert abs(len(samples) - RATE) <= (2000 if name == "mp3.mp3" else 1)
        inside = samples[2000:14000]
        spectrum = np.abs(np.fft.rfft(inside * np.hanning(len(inside))))
        assert np.argmax(spectrum) * RATE / len(inside) == pytest.approx(440, abs=2)
        assert np.sqrt(2 * np.mean(inside**2)) == pytest.approx(0.4, rel=0.03)

    def test_channels_are_averaged_and_a_rir_keeps_them(self, tmp_path: Path):
        left, right = tone(300), tone(1200)
        soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE, subtype="PCM_16")
        mixed = decode(tmp_path / "a.wav", sample_rate=RATE)
        assert np.allclose(mixed.samples / 32768, (left + right) / 2, atol=2 / 32768)
        assert mixed.note == "mean of 2 channels"
        response = decode(tmp_path / "a.wav", sample_rate=RATE, role="rir")
        assert np.allclose(response.samples / 32768, np.stack([left, right], 1), atol=1 / 32768)
        assert (response.channels, response.note) == (2, "")
        noise = decode(tmp_path / "a.wav", sample_rate=RATE, role="noise", keep_channels=True)
        assert np.array_equal(noise.samples, response.samples)

    def test_what_would_clip_is_turned_down_and_says_so(self, tmp_path: Path):
        loud = tone(440, level=1.6)
        soundfile.write(tmp_path / "a.wav", loud, RATE, subtype="FLOAT")
        decoded = decode(tmp_path / "a.wav", sample_rate=RATE)
        assert decoded.samples.max() == 32767
        restored = decoded.samples / 32768 / 10 ** (decoded.gain_db / 20)
        assert np.allclose(restored, loud, atol=2e-4)
        assert decoded.note == f"gain {decoded.gain_db:+.3f} dB"

    def test_overshoot_of_the_resampler_does_not_wrap(self, tmp_path: Path):
        square = np.sign(tone(997, rate=48_000)) * 0.9999
        soundfile.write(tmp_path / "a.wav", square, 48_000, subtype="PCM_16")
        decoded = decode(tmp_path / "a.wav", sample_rate=RATE)
        assert decoded.gain_db < -0.1
        expected = tone(997)[: len(decoded.samples)]
        assert np.corrcoef(decoded.samples, expected)[0, 1] > 0.9

    def test_a_quiet_float_response_uses_the_bits(self, tmp_path: Path):
        response = (
            0.003 * np.exp(-np.arange(4000) / 500) * np.random.default_rng(1).standard_normal(4000)
        )
        soundfile.write(tmp_path / "a.wav", response, RATE, subtype="FLOAT")
        decoded = decode(tmp_path / "a.wav", sample_rate=RATE, role="rir")
        assert np.abs(decoded.samples).max() == round(0.99 * 32768)
        scaled = response * 10 ** (decoded.gain_db / 20)
        assert np.allclose(decoded.samples / 32768, scaled, atol=1e-4)

    def test_blocks_join_without_a_seam(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        waveform = noise(1.0, 3)
        soundfile.write(tmp_path / "a.wav", waveform, 44_100, subtype="FLOAT")
        whole = decode(tmp_path / "a.wav", sample_rate=RATE).samples
        monkeypatch.setattr("rased.data.preparation.waveform._BLOCK", 1000)
        assert np.array_equal(decode(tmp_path / "a.wav", sample_rate=RATE).samples, whole)

    @pytest.mark.parametrize("codec", ["flac", "pcm16"])
    def test_blocks_are_stored_as_one(
        self, tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
    ):
        soundfile.write(tmp_path / "a.wav", 3 * noise(1.0, 3), 44_100, subtype="FLOAT")
        whole = encode(decode(tmp_path / "a.wav", sample_rate=RATE).samples, codec, RATE)
        monkeypatch.setattr("rased.data.preparation.waveform._BLOCK", 1000)
        monkeypatch.setattr("rased.data.preparation.waveform._SPOOL", 5000)
        decoded = decode(tmp_path / "a.wav", sample_rate=RATE)
        assert encode_blocks(decoded.blocks(), codec, RATE) == whole
        assert decoded.frames == len(decoded.samples)


def bad_files(folder: Path) -> dict[str, str]:
    """Files that cannot be packed, with a word of the reason."""
    folder.mkdir(exist_ok=True)
    samples = noise(1.0, 9)
    (folder / "zero_bytes.wav").write_bytes(b"")
    soundfile.write(folder / "no_samples.wav", samples[:0], RATE)
    (folder / "text.wav").write_text("this is no audio\n" * 50)
    soundfile.write(
        folder / "nan.wav", np.where(np.arange(RATE) == 7, np.nan, samples), RATE, "FLOAT"
    )
    soundfile.write(
        folder / "inf.wav", np.where(np.arange(RATE) == 7, np.inf, samples), RATE, "FLOAT"
    )
    soundfile.write(folder / "silent.flac", np.zeros(RATE), RATE)
    soundfile.write(folder / "whole.flac", samples, RATE)
    whole = (folder / "whole.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "whole.wav", samples, RATE, "PCM_16")
    whole = (folder / "whole.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.flac").unlink()
    (folder / "whole.wav").unlink()
    return {
        "zero_bytes.wav": "empty",
        "no_samples.wav": "has no samples",
        "text.wav": "not audio",
        "nan.wav": "NaN",
        "inf.wav": "infinite",
        "silent.flac": "silent",
        "cut.flac": "truncated",
        "cut.wav": "truncated",
    }


class TestBadFiles:
    def test_each_is_skipped_and_named(self, tmp_path: Path):
        corpus(tmp_path / "in")
        expected = bad_files(tmp_path / "in" / "train" / "bad")
        packed = pack([tmp_path / "in"], tmp_path / "out", role="speech")
        listed = json.loads((tmp_path / "out" / "skipped.json").read_text())
        reasons = {Path(entry["path"]).name: entry["reason"] for entry in listed}
        assert reasons.keys() == expected.keys()
        assert {name: word for name, word in expected.items() if word not in reasons[name]} == {}
        assert packed.samples == len(read_index(tmp_path / "out")) == 12
        assert [entry.path for entry in packed.skipped] == [entry["path"] for entry in listed]

    @pytest.mark.parametrize("coding", ["VORBIS", "OPUS"])
    @pytest.mark.parametrize("share", [0.25, 0.5, 0.9, 0.999])
    def test_an_ogg_file_cut_anywhere_is_cut_short(self, tmp_path: Path, coding: str, share: float):
        whole = tmp_path / "whole.ogg"
        soundfile.write(whole, noise(12, 0), RATE, format="OGG", subtype=coding)
        assert len(decode(whole, sample_rate=RATE).samples) == 12 * RATE
        data = whole.read_bytes()
        pages = [at for at in range(len(data)) if data.startswith(b"OggS\0", at)]
        at_a_page = max(page for page in pages[3:] if page <= max(share * len(data), pages[3]))
        for name, length in (("inside.ogg", int(share * len(data))), ("page.ogg", at_a_page)):
            (tmp_path / name).write_bytes(data[:length])
            with pytest.raises(BadAudioError, match="truncated"):
                decode(tmp_path / name, sample_rate=RATE)

    def test_a_pipe_header_without_a_length_is_not_called_cut_short(self, tmp_path: Path):
        soundfile.write(tmp_path / "a.wav", noise(0.5, 1), RATE, "PCM_16")
        data = bytearray((tmp_path / "a.wav").read_bytes())
        at = data.index(b"data") + 4
        data[4:8] = data[at : at + 4] = b"\xff" * 4
        (tmp_path / "a.wav").write_bytes(data)
        assert len(decode(tmp_path / "a.wav", sample_rate=RATE).samples) == RATE // 2

    def test_exit_codes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        corpus(tmp_path / "in")
        (tmp_path / "in" / "train" / "text.wav").write_text("no audio")
        words = ["data", "pack", str(tmp_path / "in"), "--role", "speech", "--out"]
        assert main([*words, str(tmp_path / "a")]) == 1
        said = capsys.readouterr()
        assert "'train/text.wav' is not audio" in said.out
        assert "1 bad files were skipped" in said.err
        assert main([*words, str(tmp_path / "b"), "--allow-bad"]) == 0
        assert main([*words, str(tmp_path / "c"), "--role", "music"]) == 2

    def test_too_many_stop_the_run(self, tmp_path: Path):
        corpus(tmp_path / "in", files=12)
        for number in range(30):
            (tmp_path / "in" / "test" / f"{number}.wav").write_text("no audio")
        with pytest.raises(ProblemsFound, match=r"Stopped: 11 of .* --max-bad"):
            pack([tmp_path / "in"], tmp_path / "out", role="speech")
        assert not (tmp_path / "out" / "index.json").exists()
        assert pack([tmp_path / "in"], tmp_path / "out", role="speech", max_bad=1.0).samples == 12

    def test_nothing_but_bad_files(self, tmp_path: Path):
        bad_files(tmp_path / "in")
        with pytest.raises(ProblemsFound, match="None of the 8 files"):
            pack([tmp_path / "in"], tmp_path / "out", role="speech")

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"", "is empty"), (b"no audio", "is not audio that libsndfile")]
    )
    def test_the_reason_reads_well(self, tmp_path: Path, content: bytes, reason: str):
        file = tmp_path / "a.wav"
        file.write_bytes(content)
        with pytest.raises(BadAudioError) as caught:
            decode(file, sample_rate=RATE)
        assert caught.value.reason.startswith(reason)
        assert str(caught.value) == f"'{file}' {caught.value.reason}."
        with pytest.raises(BadAudioError, match=r"b\.wav' does not exist"):
            decode(tmp_path / "b.wav", sample_rate=RATE)


class TestSources:
    def test_folders_name_split_and_label(self, tmp_path: Path):
        for path in (
            "speech/test/anna/x/1.wav",
            "speech/valid/1.wav",
            "train/bert/2.wav",
            "carl/3.wav",
            "noise/test/rain/4.wav",
            "5.wav",
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / path, tone(440), RATE)
        (tmp_path / "notes.txt").write_text("passed over")
        (tmp_path / "carl" / "._3.wav").write_text("what a Mac leaves")
        listing = collect([tmp_path], role="speech", split="extra")
        assert {source.path: (source.split, source.label) for source in listing.sources} == {
            "speech/test/anna/x/1.wav": ("test", "anna"),
            "speech/valid/1.wav": ("valid", "valid"),
            "train/bert/2.wav": ("train", "bert"),
            "carl/3.wav": ("extra", "carl"),
            "5.wav": ("extra", tmp_path.name),
        }
        assert listing.passed_over == {
            "folders 'noise'": 1,
            "files that are not audio according to their names": 2,
        }

    def test_the_manifest_decides(self, tmp_path: Path):
        soundfile.write(tmp_path / "a.wav", tone(440), RATE)
        soundfile.write(tmp_path / "b.wav", tone(880), RATE)
        soundfile.write(tmp_path / "unlisted.wav", tone(880), RATE)
        (tmp_path / "LICENSES.md").write_text("# All rights given\n")
        with (tmp_path / "manifest.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["path", "role", "split", "label", "licence", "source", "note", "sha256"]
            )
            writer.writerow(["a.wav", "speech", "test", "anna", "CC0-1.0", "here", 'loud, "x"', ""])
            writer.writerow(["b.wav", "noise", "test", "rain", "CC0-1.0", "", "", ""])
            writer.writerow(["b.wav", "speech", "test", "bert", "CC-BY-4.0", "", "", "0" * 64])
        for number, given in enumerate((tmp_path, tmp_path / "manifest.csv")):
            out = tmp_path / f"out{number}"
            packed = pack([given], out, role="speech")
            assert [(entry.path, entry.reason) for entry in packed.skipped] == [
                ("b.wav", "was changed: its sha256 is not that of the manifest")
            ]
            (stored,) = read_shard(out / "test-000000.tar")
            wanted = {"label": "anna", "licence": "CC0-1.0", "source": "here", "note": 'loud, "x"'}
            assert wanted.items() <= stored.details.items()
            assert json.loads((out / "index.json").read_text())["attribution"] == "LICENSES.md"
            assert (out / "LICENSES.md").read_text() == "# All rights given\n"

    def test_keys_are_plain_unique_and_stable(self, tmp_path: Path):
        names = [
            "a.b.wav",
            "a-b.wav",
            "ä ö.wav",
            "x/y.wav",
            "x-y.wav",
            "long" * 40 + ".wav",
            "ok.wav",
        ]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            soundfile.write(tmp_path / name, tone(440), RATE)
        keys = {source.path: source.key for source in collect([tmp_path], role="noise").sources}
        assert len(set(keys.values())) == len(names)
        assert all(
            key.isascii() and not set("./ ") & set(key) and len(key) <= 80 for key in keys.values()
        )
        assert keys["ok.wav"] == "ok"
        soundfile.write(tmp_path / "another.wav", tone(440), RATE)
        again = {source.path: source.key for source in collect([tmp_path], role="noise").sources}
        assert keys.items() <= again.items()

    def test_same_names_in_two_folders(self, tmp_path: Path):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            soundfile.write(tmp_path / folder / "1.wav", tone(440), RATE)
        listing = collect([tmp_path / "one", tmp_path / "two"], role="speech")
        assert len({source.key for source in listing.sources}) == 2
        with pytest.raises(RasedError, match="give each file once"):
            collect([tmp_path / "one", tmp_path / "one"], role="speech")

    @pytest.mark.parametrize(
        ("manifest", "sentence"),
        [
            ("file,role\na.wav,speech\n", "no column 'path'"),
            ("path,split\na.wav,../x\n", "The split name '../x' is not allowed"),
            ("path,role\n,speech\n", "a row whose column 'path' is empty"),
            ("path,role\na.wav,noise\n", "No speech to pack"),
            ("", "no column 'path'"),
        ],
    )
    def test_manifests_that_cannot_be_used(self, tmp_path: Path, manifest: str, sentence: str):
        (tmp_path / "manifest.csv").write_text(manifest)
        with pytest.raises(RasedError, match=sentence):
            collect([tmp_path], role="speech")

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    def test_manifests_of_other_programs(self, tmp_path: Path, encoding: str, mark: str):
        """Any separator and encoding of a spreadsheet, capital letters, paths of Windows, lines in a label."""
        (tmp_path / "spk").mkdir()
        soundfile.write(tmp_path / "spk" / "x.wav", np.sin(np.arange(1600)) / 9, RATE)
        text = 'Path,Label,Note\nspk\\x.wav,"é\n\x1b[31m",\0\n'.replace("\0", "").replace(",", mark)
        (tmp_path / "manifest.csv").write_bytes(text.encode(encoding))
        (source,) = collect([tmp_path], role="speech").sources
        assert (source.path, source.label) == ("spk/x.wav", "é [31m")
        pack([tmp_path], tmp_path / "out", role="speech", jobs=1)
        assert read_index(tmp_path / "out").columns["label"].tolist() == ["é [31m"]

    @pytest.mark.parametrize("content", [b"path\n\xe9.wav\n", b"path\n" + b"x" * 140_000])
    def test_a_manifest_that_is_no_table_is_one_sentence(self, tmp_path: Path, content: bytes):
        (tmp_path / "manifest.csv").write_bytes(content)
        with pytest.raises(RasedError, match=r"manifest\.csv' is not (text in UTF-8|a table)"):
            collect([tmp_path], role="speech")

    def test_nothing_there(self, tmp_path: Path):
        with pytest.raises(RasedError, match="does not exist"):
            collect([tmp_path / "nowhere"], role="speech")
        with pytest.raises(RasedError, match=r"No speech to pack .* 0?"):
            collect([tmp_path], role="speech")


class TestShards:
    def test_equal_bytes_for_any_number_of_jobs_and_any_place(self, tmp_path: Path):
        corpus(tmp_path / "in")
        shutil.copytree(tmp_path / "in", tmp_path / "elsewhere" / "in")
        packed = []
        for number, (jobs, source) in enumerate(((1, "in"), (2, "in"), (4, "elsewhere/in"))):
            out = tmp_path / f"out{number}"
            pack([tmp_path / source], out, role="speech", shard_mb=0.02, jobs=jobs)
            packed.append(contents(out))
        assert packed[0] == packed[1] == packed[2]
        assert sum(name.endswith(".tar") for name in packed[0]) > 3

    @pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset's own
    @pytest.mark.parametrize("codec", ["flac", "pcm16"])
    def test_plain_webdataset_reads_what_the_index_says(self, tmp_path: Path, codec: str):
        corpus(tmp_path / "in")
        pack([tmp_path / "in"], tmp_path / "out", role="noise", codec=codec, shard_mb=0.02)
        index = read_index(tmp_path / "out")
        reader = Reader(index)
        shards = [str(index.folder / shard.name) for shard in index.shards]
        for row, sample in enumerate(webdataset.WebDataset(shards, shardshuffle=False)):
            details = json.loads(sample["json"])
            assert sample["__key__"] == details["key"] == index.columns["key"][row]
            assert sample[codec] == reader.raw(row)
            original, _ = soundfile.read(tmp_path / "in" / details["path"], dtype="int16")
            assert np.array_equal(reader.read(row) * 32768, original)
            assert details["split"] == index.columns["split"][row]
            assert details["role"] == "noise"
        assert row == len(index) - 1 == 11

    def test_a_reader_closes_its_files(self, tmp_path: Path):
        corpus(tmp_path / "in")
        pack([tmp_path / "in"], tmp_path / "out", role="noise")
        reader = Reader(read_index(tmp_path / "out"))
        reader.read(0)
        (descriptor,) = reader._files.values()
        os.fstat(descriptor)  # raises if it is closed
        del reader
        gc.collect()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)

    def test_a_shard_keeps_to_its_size(self, tmp_path: Path):
        corpus(tmp_path / "in")
        pack([tmp_path / "in"], tmp_path / "out", role="speech", codec="pcm16", shard_mb=0.03)
        index = read_index(tmp_path / "out")
        assert all(shard.bytes <= 0.03e6 + 10240 for shard in index.shards)
        assert {shard.name[:-11] for shard in index.shards} == {"train", "valid", "test"}
        assert len(index.shards) == 6

    def test_encode_is_the_inverse_of_decoding(self):
        samples = np.random.default_rng(4).integers(-32768, 32768, 999).astype(np.int16)
        assert np.array_equal(np.frombuffer(encode(samples, "pcm16", RATE), "<i2"), samples)
        flac, rate = soundfile.read(io.BytesIO(encode(samples, "flac", 8000)), dtype="int16")
        assert rate == 8000
        assert np.array_equal(flac, samples)

    @pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
    @pytest.mark.parametrize("length", [1, 319, 320, 321, 5000, 70_001])
    def test_opus_keeps_the_length_and_gives_equal_bytes(self, rate: int, length: int):
        samples = np.rint(32768 * tone(440, seconds=length / rate, rate=rate)).astype(np.int16)
        coded = [encode(samples, "opus", rate) for _ in range(2)]
        assert coded[0] == coded[1]
        heard = stored(coded[0], "opus", 0, length)
        assert len(heard) == length
        assert np.array_equal(heard * 32768, np.rint(heard * 32768))
        start = length // 3
        assert np.array_equal(stored(coded[0], "opus", start, length - start), heard[start:])

    def test_opus_shards_are_small_whole_and_close(self, tmp_path: Path):
        """Verified, read at any place, smaller with fewer bits, and no worse than the codec is."""
        samples = soundfile.read(bundle() / "frozen" / "target" / "m0000.flac", dtype="int16")[0]
        sizes = []
        for kbits in (48.0, 16.0):
            folder = tmp_path / f"{kbits:g}"
            (folder / "in").mkdir(parents=True)
            soundfile.write(folder / "in" / "a.wav", samples, RATE)
            packed = pack(
                [folder / "in"],
                folder / "out",
                role="speech",
                codec="opus",
                kbits=kbits,
            )
            sizes.append(packed.bytes)
            assert not verify([folder / "out"]).problems
            corpus = Corpus([folder / "out"], role="speech", split="train")
            heard = corpus.read(0)
            assert np.array_equal(corpus.read(0, 999, 5000), heard[999:5999])
            out = np.empty(5000, np.float32)
            corpus.read(0, 999, 5000, out=out)
            assert np.array_equal(out, heard[999:5999])
            clean = samples / np.float32(32768)
            error = np.square(heard - clean).mean() / np.square(clean).mean()
            assert 10 * np.log10(error) < (-12 if kbits == 48 else -6)
        assert sizes[1] < sizes[0] < 0.5 * 2 * len(samples)

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            (
                {"sample_rate": 44_100},
                "Opus supports 8000, 12000, 16000, 24000, 48000 Hz, not 44100",
            ),
            ({"kbits": 500.0}, "Opus supports 6 to 256 kbit/s, not 500"),
            ({"kbits": float("nan")}, "Opus supports 6 to 256 kbit/s, not nan"),
        ],
    )
    def test_what_opus_cannot_do_is_named(self, tmp_path: Path, settings, sentence: str):
        corpus(tmp_path / "in")
        with pytest.raises(RasedError, match=re.escape(sentence)):
            pack([tmp_path / "in"], tmp_path / "out", role="speech", codec="opus", **settings)
        assert not (tmp_path / "out").exists()


class TestRestart:
    def test_done_already_is_recognised_and_other_input_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        corpus(tmp_path / "in")
        words = [
            "data",
            "pack",
            str(tmp_path / "in"),
            "--out",
            str(tmp_path / "out"),
            "--role",
            "speech",
        ]
        assert main(words) == 0
        before = contents(tmp_path / "out")
        assert main(words) == 0
        assert "was complete already" in capsys.readouterr().out
        assert main([*words, "--codec", "pcm16"]) == 2
        assert "different: codec" in capsys.readouterr().err
        soundfile.write(tmp_path / "in" / "new.wav", tone(440), RATE)
        assert main(words) == 2
        assert "different: files, listing_sha256" in capsys.readouterr().err
        assert contents(tmp_path / "out") == before

    def test_a_folder_of_other_shards_is_refused(self, tmp_path: Path):
        corpus(tmp_path / "in")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "train-000000.tar").write_bytes(b"mine")
        with pytest.raises(RasedError, match="choose an empty --out"):
            pack([tmp_path / "in"], tmp_path / "out", role="speech")
        assert (tmp_path / "out" / "train-000000.tar").read_bytes() == b"mine"

    def test_an_interrupted_run_leaves_whole_shards_and_goes_on(self, tmp_path: Path):
        corpus(tmp_path / "in", files=30)
        pack([tmp_path / "in"], tmp_path / "reference", role="speech", shard_mb=0.03)

        def interrupt(done: int, total: int) -> None:
            if done == 17:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pack(
                [tmp_path / "in"],
                tmp_path / "out",
                role="speech",
                shard_mb=0.03,
                progress=interrupt,
            )
        left = contents(tmp_path / "out")
        assert "index.json" not in left
        assert not [name for name in left if name.endswith(PART)]
        packed = pack([tmp_path / "in"], tmp_path / "out", role="speech", shard_mb=0.03)
        assert 0 < packed.resumed < 17
        assert contents(tmp_path / "out") == contents(tmp_path / "reference")

    def test_kill_9_at_any_moment_loses_nothing(self, tmp_path: Path):
        """The process is killed as soon as its n-th shard is there, twice; the third run completes it."""
        corpus(tmp_path / "in", files=150, seconds=1.0)
        options = ["--role", "speech", "--shard-mb", "0.2", "--jobs", "1"]
        out = tmp_path / "out"
        words = ["data", "pack", str(tmp_path / "in"), "--out", str(out), *options]
        for shards in (2, 6):
            process = started(words, tmp_path / "said.txt")
            deadline = time.monotonic() + 60
            while len(list(out.glob("*.tar"))) < shards and process.is_alive():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            os.kill(process.pid, signal.SIGKILL)
            assert ended(process) == -signal.SIGKILL
            assert not (out / "index.json").exists()
        packed = pack([tmp_path / "in"], out, role="speech", shard_mb=0.2)
        assert packed.resumed > 0
        assert packed.samples == 150
        pack([tmp_path / "in"], tmp_path / "reference", role="speech", shard_mb=0.2)
        assert contents(out) == contents(tmp_path / "reference")

    def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_disk: Path
    ):
        corpus(tmp_path / "in", files=60, seconds=1.0)
        out = small_disk / "out"
        words = ["data", "pack", str(tmp_path / "in"), "--out", str(out), "--role", "speech"]
        words += ["--codec", "pcm16", "--shard-mb", "0.2"]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "no space left on device" in said
        assert said.count("\n") == 1
        left = contents(out)
        assert not [name for name in left if name.endswith(PART)]
        assert [name for name in left if name.endswith(".tar")]
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        assert main(words) == 0
        assert len(read_index(out)) == 60

    def test_a_second_run_into_one_folder_is_refused(self, tmp_path: Path):
        corpus(tmp_path / "in")
        refused = []

        def again(done: int, total: int) -> None:
            before = contents(tmp_path / "out")
            with pytest.raises(RasedError, match=r"Another process is writing into .*wait for it"):
                pack([tmp_path / "in"], tmp_path / "out", role="speech")
            assert contents(tmp_path / "out") == before
            refused.append(done)

        packed = pack([tmp_path / "in"], tmp_path / "out", role="speech", progress=again)
        assert len(refused) == packed.samples + 1
        assert pack([tmp_path / "in"], tmp_path / "out", role="speech").resumed == packed.samples

    def test_a_read_only_folder_is_one_sentence(self, tmp_path: Path, small_disk: Path):
        corpus(tmp_path / "in")
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(
            RasedError, match=r"Cannot write to .*: read-only file system\. Complete"
        ):
            pack([tmp_path / "in"], small_disk / "out", role="speech")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path):
    """Peak memory of packing 8 times the audio grows by less than 1 MB per GB beyond its index."""
    peaks, sizes = [], []
    for times in (1, 8):
        folder = corpus(tmp_path / f"in{times}", files=30 * times, seconds=30.0)
        code = (
            "import resource, sys; from pathlib import Path; from rased.data.preparation.pack import pack\n"
            f"source, out = Path({str(folder)!r}), Path({str(tmp_path / f'out{times}')!r})\n"
            "pack([source], out, role='speech', shard_mb=20, jobs=2)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        peaks.append(float(run.stdout))
        sizes.append(sum(path.stat().st_size for path in folder.rglob("*.flac")) / 1e9)
    assert (peaks[1] - peaks[0]) < 8 + (sizes[1] - sizes[0])


_CHILD = """
import resource, sys
from pathlib import Path
from rased.data.preparation.pack import pack
pack([Path(sys.argv[1])], Path(sys.argv[2]), role="speech", codec="pcm16", jobs=1)
if sys.platform == "linux":
    with open("/proc/self/status") as status:  # ru_maxrss begins at that of the parent
        print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path):
    """700 files of 100 ms and eight times as many: less than 150 bytes a file (it was 1 200)."""
    peak = {}
    for count in (700, 5600):
        peak[count] = 1 << 62
        for run in range(2):
            folder = corpus(tmp_path / f"in{count}", files=count, seconds=0.1)
            out = tmp_path / f"out{count}-{run}"
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, str(folder), str(out)],
                capture_output=True,
                text=True,
                check=True,
            )
            peak[count] = min(peak[count], int(done.stdout) * 1024)
    assert peak[5600] - peak[700] < 150 * 4900

"""From a corpus as its authors publish it to shards and a frozen test set, end to end."""

import hashlib
import json
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from rased.cli import main
from rased.data.corpora import CORPORA
from rased.data.corpora.base import Archive
from rased.data.integrity.verify import find, verify
from rased.data.mixtures.corpus import Corpus, refuse_overlap
from rased.data.preparation.prepare import prepare
from rased.data.shards.index import read_index
from rased.data.shards.tars import read_shard
from rased.errors import RasedError
from rased.evaluation.testset import read_testset
from tests.data.corpora.test_walkers import audio, replica, wanted
from tests.serving import running

VOICEBANK = replace(CORPORA["voicebank-demand"], test_ids=("p232_001", "p257_434"))


def stored(folder):
    return [sample for shard in sorted(folder.glob("*.tar")) for sample in read_shard(shard)]


def speech(seconds, rate, *, seed=0, level=0.3):
    time = np.arange(int(seconds * rate)) / rate
    return level * np.sin(2 * np.pi * (200 + 10 * seed) * time)


class TestShards:
    def test_every_role_of_a_corpus(self, tmp_path):
        root = replica("dns", tmp_path / "dns")
        done = prepare(CORPORA["dns"], root, tmp_path / "out", jobs=1)
        counts = {role: packed.samples for role, packed in done.packed.items()}
        assert counts == {"speech": 4, "noise": 2, "rir": 2}
        for role in counts:
            expected = {
                (path, what[1], what[2], what[3])
                for path, what in wanted("dns").items()
                if what[0] == role
            }
            fields = ("path", "split", "label", "licence")
            assert {
                tuple(sample.details[name] for name in fields)
                for sample in stored(tmp_path / "out" / role)
            } == expected
        text = (tmp_path / "out/speech/LICENSES.md").read_text()
        assert CORPORA["dns"].citation in text
        record = json.loads((tmp_path / "out/corpus.json").read_text())
        assert record["roles"]["noise"]["samples"] == 2
        assert not verify(find(tmp_path / "out")).problems

    def test_the_same_command_again_changes_nothing(self, tmp_path):
        root = replica("musan", tmp_path / "in")
        out = tmp_path / "out"
        prepare(CORPORA["musan"], root, out, jobs=1)
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        prepare(CORPORA["musan"], root, out, jobs=2)
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
        assert "public domain" in (out / "noise/LICENSES.md").read_text()

    def test_splits_do_not_meet(self, tmp_path):
        prepare(CORPORA["but-reverbdb"], replica("but-reverbdb", tmp_path / "in"), tmp_path / "out")
        rooms = {
            split: Corpus([tmp_path / "out"], role="rir", split=split)
            for split in ("train", "valid", "test")
        }
        assert set(rooms["test"].label) == {"VUT_FIT_C236", "Hotel_SkalskyDvur_Room112"}
        labels = [set(corpus.label) for corpus in rooms.values()]
        assert sum(map(len, labels)) == len(set().union(*labels)) == 4

    def test_only_some_licences(self, tmp_path):
        root = replica("fsd50k", tmp_path / "in")
        done = prepare(CORPORA["fsd50k"], root, tmp_path / "out", licences=["cc0", "CC-BY"])
        licences = {sample.details["licence"] for sample in stored(tmp_path / "out/noise")}
        assert licences == {"CC0-1.0", "CC-BY-3.0"}
        assert done.passed_over == {"recordings under CC-BY-NC-3.0": 1}

    def test_only_some_parts_roles_and_microphones(self, tmp_path):
        root = replica("librispeech", tmp_path / "ls")
        parts = ["train-clean-100", "dev-clean"]
        done = prepare(CORPORA["librispeech"], root, tmp_path / "a", parts=parts)
        assert {sample.details["label"] for sample in stored(tmp_path / "a/speech")} == {
            "103",
            "84",
        }
        assert done.passed_over == {"recordings of other parts": 2}
        root = replica("slr28", tmp_path / "slr28")
        done = prepare(CORPORA["slr28"], root, tmp_path / "b", roles=["noise"])
        assert set(done.packed) == {"noise"}
        root = replica("demand", tmp_path / "demand")
        assert prepare(CORPORA["demand"], root, tmp_path / "c").packed["noise"].samples == 4
        done = prepare(CORPORA["demand"], root, tmp_path / "d", all_channels=True)
        assert done.packed["noise"].samples == 5

    def test_a_manifest_keeps_what_it_says_of_each_file(self, tmp_path):
        root = replica("manifest", tmp_path / "in")
        (root / "LICENSES.md").write_text("all of them\n")
        prepare(CORPORA["manifest"], root, tmp_path / "out", roles=["speech"], codec="pcm16")
        assert read_index(tmp_path / "out/speech").codec == "pcm16"
        (sample,) = [s for s in stored(tmp_path / "out/speech") if s.details["split"] == "train"]
        expected = {"source": "here", "note": "loud", "licence": "CC0-1.0"}
        assert expected.items() <= sample.details.items()
        assert "all of them" in (tmp_path / "out/speech/LICENSES.md").read_text()

    def test_commons_keeps_its_name(self, tmp_path, capsys):
        root = replica("commons", tmp_path / "in")
        places = ["--root", str(root), "--out", str(tmp_path / "out")]
        assert main(["data", "prepare", "commons", *places]) == 0
        assert json.loads((tmp_path / "out/corpus.json").read_text())["name"] == "commons"
        assert main(["data", "corpora"]) == 0
        assert "commons" in capsys.readouterr().out


class TestTestSet:
    @pytest.fixture
    def root(self, tmp_path):
        """VoiceBank+DEMAND with two test pairs at 48 kHz, one of them so loud that it overshoots."""
        root = tmp_path / "vbd"
        for number, name in enumerate(("p226_001", "p228_001")):
            file = root / "clean_trainset_28spk_wav" / f"{name}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, speech(0.4, 48_000, seed=number), 48_000)
        for number, name in enumerate(("p232_001", "p257_434")):
            clean = speech(0.5, 48_000, seed=number + 5, level=0.2 + 0.6 * number)
            noise = (0.1 + 0.3 * number) * np.sign(np.sin(np.arange(len(clean)) / 3))
            for kind, signal in (("clean", clean), ("noisy", clean + noise)):
                file = root / f"{kind}_testset_wav" / f"{name}.wav"
                file.parent.mkdir(exist_ok=True)
                soundfile.write(file, np.clip(signal, -1, 1), 48_000)
        (root / "log_testset.txt").write_text("p257_434 bus 17.5\np232_001 psquare 2.5\n")
        return root

    def test_it_is_frozen_in_its_order_and_no_part_of_it_is_in_the_shards(self, root, tmp_path):
        done = prepare(VOICEBANK, root, tmp_path / "out")
        assert done.pairs == 2
        testset = read_testset(tmp_path / "out/testset")
        assert [item.id for item in testset.items] == ["p232_001", "p257_434"]
        assert testset.items[0].facts == {
            "condition": "noise",
            "snr_db": 2.5,
            "speaker": "p232",
            "noise_type": "psquare",
        }
        assert (testset.name, testset.sample_rate) == ("voicebank-demand", 16_000)
        assert testset.target == "clean"
        train, valid = (
            Corpus([tmp_path / "out"], role="speech", split=split) for split in ("train", "valid")
        )
        refuse_overlap(train, valid)
        assert (set(train.label), set(valid.label)) == ({"p228"}, {"p226"})
        with pytest.raises(RasedError, match="No speech in split 'test'"):
            Corpus([tmp_path / "out"], role="speech", split="test")
        assert not verify(find(tmp_path / "out")).problems
        assert main(["data", "info", str(tmp_path / "out")]) == 0

    def test_both_files_of_a_pair_have_one_gain(self, root, tmp_path):
        prepare(VOICEBANK, root, tmp_path / "out")
        items = json.loads((tmp_path / "out/testset/testset.json").read_text())["items"]
        gains = [item["gain"] for item in items]
        assert gains[0] == 1
        assert 0.8 < gains[1] < 1
        for item in items:
            clean, _ = soundfile.read(tmp_path / f"out/testset/target/{item['id']}.flac")
            noisy, _ = soundfile.read(tmp_path / f"out/testset/noisy/{item['id']}.flac")
            number = int(item["id"] == "p257_434")
            ideal = speech(0.5, 16_000, seed=number + 5, level=0.2 + 0.6 * number)
            assert len(clean) == len(noisy) == 8000
            inner = slice(500, 7500)
            assert np.abs(clean - item["gain"] * ideal)[inner].max() < 1e-3
            assert np.abs(noisy).max() < 1

    def test_it_never_changes(self, root, tmp_path):
        corpus = replace(VOICEBANK, test_ids=())
        prepare(corpus, root, tmp_path / "out")
        before = (tmp_path / "out/testset/testset.json").read_bytes()
        prepare(corpus, root, tmp_path / "out")
        assert (tmp_path / "out/testset/testset.json").read_bytes() == before
        (root / "noisy_testset_wav/p257_434.wav").unlink()
        (root / "clean_testset_wav/p257_434.wav").unlink()
        with pytest.raises(RasedError, match="a frozen set never changes"):
            prepare(corpus, root, tmp_path / "out")

    def test_part_of_what_the_field_knows_is_refused(self, root, tmp_path):
        with pytest.raises(
            RasedError, match=r"not the 824 .* 822 missing \(p232_002, p232_003, p232_005"
        ):
            prepare(CORPORA["voicebank-demand"], root, tmp_path / "out")
        other = replace(VOICEBANK, test_ids=("p232_001",))
        with pytest.raises(RasedError, match=r": 1 not of it \(p257_434\)\. Get the complete set"):
            prepare(other, root, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("split", ["train", "valid"])
    def test_its_speech_is_packed_for_testing_alone(self, root, tmp_path, split, capsys):
        words = ["data", "pack", str(root / "clean_testset_wav"), "--role", "speech", "--out"]
        assert main([*words, str(tmp_path / "a"), "--split", split]) == 2
        assert (
            "2 of the files, such as 'p232_001.wav', have names of the test set"
            in capsys.readouterr().err
        )
        assert not (tmp_path / "a").exists()
        assert main([*words, str(tmp_path / "b"), "--split", "test"]) == 0
        places = ["--root", str(tmp_path / "own"), "--out", str(tmp_path / "c")]
        (tmp_path / "own/speech/train").mkdir(parents=True)
        (root / "noisy_testset_wav").rename(tmp_path / "own/speech/train/anna")
        assert main(["data", "prepare", "folder", *places]) == 2
        assert "for testing only" in capsys.readouterr().err

    def test_a_full_disk_is_one_sentence(self, root, tmp_path, small_disk):
        for number in range(20):
            noise = np.random.default_rng(number).uniform(-0.5, 0.5, 96_000)
            for kind in ("clean", "noisy"):
                soundfile.write(root / f"{kind}_testset_wav" / f"{number}.wav", noise, 48_000)
        with pytest.raises(
            RasedError, match=r"no space left on device\. Complete shards are kept, but nothing"
        ):
            prepare(replace(VOICEBANK, test_ids=()), root, small_disk / "out")
        assert [path.name for path in (small_disk / "out").iterdir()] == ["speech"]

    def test_half_a_pair_is_no_test_set(self, root, tmp_path):
        (root / "clean_testset_wav/p257_434.wav").unlink()
        with pytest.raises(RasedError, match=r"p257_434.wav' does not exist.* Get it again"):
            prepare(VOICEBANK, root, tmp_path / "out")
        assert not (tmp_path / "out/testset").exists()

    def test_a_shorter_target_is_filled_with_silence(self, tmp_path):
        root = replica("ears-reverb", tmp_path / "in")
        soundfile.write(
            root / "EARS-Reverb_v2/test/reverberant/p103/00001_0.53.wav",
            speech(0.3, 16_000),
            16_000,
        )
        prepare(CORPORA["ears-reverb"], root, tmp_path / "out")
        target, _ = soundfile.read(tmp_path / "out/testset/target/p103_00001.flac")
        assert len(target) == 4800
        assert np.abs(target[:1600]).max() > 0.2
        assert not target[1600:].any()


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (
                ["vctk"],
                "The folder '{root}/x' does not exist. To get it, add --download; then --root",
            ),
            (["wsj0", "--download"], "WSJ0 cannot be downloaded: buy LDC93S6A"),
            (["librispeech", "--part", "train-clean-10"], "did you mean 'train-clean-100'"),
            (["musan", "--role", "speech"], "MUSAN has no speech"),
            (["ears_wham"], "Unknown corpus 'ears_wham': did you mean 'ears-wham'"),
        ],
    )
    def test_one_sentence_that_says_what_to_do(self, words, sentence, tmp_path, capsys):
        places = ["--root", str(tmp_path / "x"), "--out", str(tmp_path / "out")]
        assert main(["data", "prepare", *words, *places]) == 2
        assert sentence.format(root=tmp_path) in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_holds_something_else(self, tmp_path):
        with pytest.raises(
            RasedError,
            match=r"does not contain WSJ0, with files such as wsj0/si_tr_s/011/011c0201.wav",
        ):
            prepare(CORPORA["wsj0"], replica("musan", tmp_path / "in"), tmp_path / "out")

    def test_a_speaker_in_two_splits(self, tmp_path):
        for split in ("train", "test"):
            file = tmp_path / "in/speech" / split / "anna/1.wav"
            file.parent.mkdir(parents=True)
            file.write_bytes(audio(".wav", split))
        with pytest.raises(RasedError, match=r"The speaker 'anna' of .* is in both test and train"):
            prepare(CORPORA["folder"], tmp_path / "in", tmp_path / "out")

    def test_bad_files_are_named(self, tmp_path, capsys):
        root = replica("demand", tmp_path / "in")
        (root / "TBUS/ch01.wav").write_bytes(b"RIFF")
        words = ["demand", "--root", str(root), "--out", str(tmp_path / "out"), "--json"]
        assert main(["data", "prepare", *words]) == 1
        report = json.loads(capsys.readouterr().out)
        (skipped,) = report["roles"]["noise"]["skipped"]
        assert skipped["path"] == "TBUS/ch01.wav"
        assert report["roles"]["noise"]["samples"] == 3
        assert main(["data", "prepare", *words, "--allow-bad"]) == 0


class TestDownload:
    def test_it_is_fetched_checked_unpacked_packed_and_recorded(self, tmp_path):
        source = replica("mit-ir", tmp_path / "site")
        with zipfile.ZipFile(tmp_path / "Audio.zip", "w") as packed:
            for file in sorted(source.rglob("*.wav")):
                packed.write(file, file.relative_to(source))
        data = (tmp_path / "Audio.zip").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
        with running(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
            self.assert_prepares(
                f"http://127.0.0.1:{server.server_port}/Audio.zip", data, digest, tmp_path
            )

    def assert_prepares(self, url, data, digest, tmp_path):
        given = Archive("all", "Audio.zip", (url,), holds="Audio", checksum=f"sha256:{digest}")
        corpus = replace(CORPORA["mit-ir"], archives=(given,))
        done = prepare(corpus, tmp_path / "root", tmp_path / "out", download=True)
        assert done.packed["rir"].samples == 2
        record = json.loads((tmp_path / "out/corpus.json").read_text())
        expected = {"url": url, "bytes": len(data), "sha256": digest}
        assert expected.items() <= record["downloads"]["Audio.zip"].items()


class TestTable:
    def test_it_has_a_row_for_each(self, capsys):
        assert main(["data", "corpora", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["corpus"] for row in rows] == list(CORPORA)
        columns = {"corpus", "role", "hours", "sample_rate", "licence", "how"}
        assert all(columns <= row.keys() for row in rows)
        assert main(["data", "corpora"]) == 0
        text = capsys.readouterr().out
        assert all(name in text for name in CORPORA)

    def test_one_of_them(self, capsys):
        assert main(["data", "corpora", "wham"]) == 0
        assert "splits: tr is train, cv valid, tt test" in capsys.readouterr().out
        assert main(["data", "corpora", "whamm"]) == 2
        assert "did you mean 'wham'" in capsys.readouterr().err

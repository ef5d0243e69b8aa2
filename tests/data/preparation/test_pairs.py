"""Recorded pairs are packed as they are, measured, and refused with a reason; verify, info and freeze know them."""

import json

import numpy as np
import pytest
import soundfile

from rased.cli import main
from rased.data.integrity.verify import find, summary, verify
from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.pack import pack, pack_pairs
from rased.data.preparation.pairing import told
from rased.data.shards.tars import read_shard
from rased.errors import ProblemsFound, RasedError
from tests.data.paired import RATE, voice, write_pair, write_pairs


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    root = tmp_path_factory.mktemp("recorded")
    return root, write_pairs(root)


@pytest.fixture
def random():
    return np.random.default_rng(1)


@pytest.mark.parametrize("codec", ["flac", "pcm16"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_pairs_are_packed_bit_for_bit(recorded, tmp_path, codec, jobs):
    root, written = recorded
    packed = pack_pairs(root / "noisy", root / "clean", tmp_path, codec=codec, jobs=jobs)
    assert packed.samples == len(written)
    assert packed.delays == (0.0,) * len(written)
    for split, speakers in (("train", 3), ("valid", 1)):
        corpus = Corpus([tmp_path], role="pairs", split=split)
        assert len(set(corpus.label.tolist())) == speakers
        for number, key in enumerate(corpus.key.tolist()):
            clean, noisy = written[key]
            both = np.rint(corpus.read_channels(number) * 2**15)
            assert np.array_equal(both, [clean, noisy])
    assert verify(find(tmp_path)).problems == ()
    (folder,) = summary(tmp_path)
    assert folder["role"] == "pairs"
    assert [(row["split"], row["files"]) for row in folder["splits"]] == [
        ("train", 7),
        ("valid", 3),
    ]


def test_both_channels_get_one_gain(random, tmp_path):
    """The noisy file exceeds full scale once it is resampled."""
    clean = voice(random, 1.0, 48_000)
    noise = np.where(random.random(len(clean)) > 0.5, 32_767, -32_767)
    write_pair(tmp_path, "a/1", clean, noise.astype(np.int16), 48_000)
    pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1, max_delay=600.0)
    pack([tmp_path / "clean"], tmp_path / "alone", role="speech", jobs=1)
    (shard,) = (tmp_path / "out").glob("*.tar")
    (stored,) = read_shard(shard)
    gain_db = stored.details["gain_db"]
    assert gain_db < -0.1
    both = Corpus([tmp_path / "out"], role="pairs", split="train").read_channels(0)
    alone = Corpus([tmp_path / "alone"], role="speech", split="train").read(0)
    assert np.abs(both[1]).max() == pytest.approx(1, abs=1e-4)
    # Within half a step of 16 bits each, and the rounded gain.
    assert np.abs(both[0] - alone * 10 ** (gain_db / 20)).max() < 1.1 / 2**15


@pytest.mark.parametrize("delay", [-700, -16, -3, 0, 5, 16, 160, 4000])
def test_delays_are_measured_and_far_ones_refused(random, tmp_path, delay):
    clean = voice(random, 2.0)
    noise = 0.3 * clean.std() * random.standard_normal(len(clean))
    late = np.zeros_like(clean)
    late[max(0, delay) :][: len(clean) - abs(delay)] = clean[max(0, -delay) :][
        : len(clean) - abs(delay)
    ]
    noisy = np.rint(late + noise).clip(-32768, 32767).astype(np.int16)
    write_pair(tmp_path, "a/1", clean, noisy)
    write_pair(tmp_path, "a/2", clean, clean)
    packed = pack_pairs(
        tmp_path / "noisy", tmp_path / "clean", tmp_path / "any", jobs=1, max_delay=1e3
    )
    assert packed.delays == (1000 * delay / RATE, 0.0)
    limited = pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "near", jobs=1)
    if abs(delay) <= 16:
        assert limited.samples == 2
    else:
        word = "late" if delay > 0 else "early"
        assert [s.path for s in limited.skipped] == ["a/1.wav"]
        assert f"{1000 * abs(delay) / RATE:.2f} ms {word}" in limited.skipped[0].reason
        assert "at most 1 ms is packed" in limited.skipped[0].reason
        assert "--max-delay" in limited.skipped[0].reason


def test_a_summary_for_programs(recorded, tmp_path, capsys):
    root, written = recorded
    folders = [str(root / "noisy"), str(root / "clean")]
    assert main(["data", "pack", "--pairs", *folders, "--out", str(tmp_path), "--json"]) == 0
    expected = {"pairs": len(written), "not_measurable": 0, "median_ms": 0.0, "furthest_ms": 0.0}
    assert json.loads(capsys.readouterr().out)["delay"] == expected


def test_a_delay_that_cannot_be_measured_is_said(random, tmp_path):
    clean = voice(random, 2.0)
    other = np.rint(3000 * random.standard_normal(len(clean))).clip(-32768, 32767)
    write_pair(tmp_path, "a/1", clean, other.astype(np.int16))
    packed = pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1)
    assert packed.delays == (None,)
    assert told(packed.delays) == "noisy after clean: not measurable in 1 of 1 pairs"
    assert told([0.0, -2.0, None]) == (
        "noisy after clean: median -1.00 ms, furthest -2.00 ms; not measurable in 1 of 3 pairs"
    )


@pytest.mark.parametrize(
    ("length", "rate", "says"),
    [
        (RATE - 10, RATE, "has 16000 samples at 16000 Hz, but its noisy file has 15990: cut both"),
        (8_000, 8_000, "has 16000 Hz, but its noisy file has 8000 Hz: resample one of them"),
    ],
)
def test_unlike_files_are_refused_with_the_repair(random, tmp_path, length, rate, says):
    clean = voice(random, 1.0)
    write_pair(tmp_path, "a/1", clean, clean)
    write_pair(tmp_path, "a/2", clean, clean)
    soundfile.write(tmp_path / "noisy/a/2.wav", clean[:length], rate)
    packed = pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1)
    assert packed.samples == 1
    assert [skipped.path for skipped in packed.skipped] == ["a/2.wav"]
    assert says in packed.skipped[0].reason


def test_an_inverted_pair_is_refused_and_a_suspicious_one_gets_a_warning(random, tmp_path):
    clean = voice(random, 2.0)
    noise = np.rint(200 * random.standard_normal(len(clean)))
    for name, noisy in {
        "fine": clean + noise,
        "half": 0.6 * clean + noise,
        "inverted": noise - clean,
        "same": clean,
        "quiet": 0.1 * clean + 0.05 * noise,
    }.items():
        write_pair(tmp_path, f"a/{name}", clean, np.rint(noisy).astype(np.int16))
    packed = pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1)
    ((path, reason),) = [(one.path, one.reason) for one in packed.skipped]
    assert path == "a/inverted.wav"
    assert "noisy file of opposite polarity: change the sign" in reason
    assert packed.remarks == (
        "'a/quiet.wav': the clean sound is 20 dB lower in its noisy file: bring both to one level",
        "'a/same.wav': its noisy file is the same sound",
    )


def test_a_bad_noisy_file_is_not_taken_for_the_clean_one(random, tmp_path):
    clean = voice(random, 0.5)
    write_pair(tmp_path, "a/good", clean, clean)
    write_pair(tmp_path, "a/silent", clean, 0 * clean)
    write_pair(tmp_path, "a/text", clean, clean)
    (tmp_path / "noisy/a/text.wav").write_bytes(b"no audio")
    packed = pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1)
    assert [one.path for one in packed.skipped] == ["a/silent.wav", "a/text.wav"]
    assert packed.skipped[0].reason.startswith("has a noisy file that is silent")
    assert packed.skipped[1].reason.startswith("has a noisy file that is not audio")


def test_speakers_of_pairs_and_of_speech_are_compared(recorded, tmp_path):
    root, _ = recorded
    pack_pairs(root / "noisy", root / "clean", tmp_path / "pairs", jobs=1)
    pack([root / "clean/train"], tmp_path / "same", role="speech", split="test", jobs=1)
    pack([root / "clean/train"], tmp_path / "train", role="speech", jobs=1)
    (problem,) = verify([tmp_path / "pairs", tmp_path / "same"]).problems
    assert problem.what == (
        "the speech and pairs splits test and train share 3 speaker(s): speaker0, speaker1, speaker2"
    )
    assert verify([tmp_path / "pairs", tmp_path / "train"]).problems == ()


def test_one_folder_is_not_a_pair_of_folders(random, tmp_path):
    write_pair(tmp_path, "a/1", *[voice(random, 0.5)] * 2)
    (tmp_path / "link").symlink_to(tmp_path / "clean")
    for noisy in (tmp_path / "clean", tmp_path / "noisy/../clean", tmp_path / "link"):
        with pytest.raises(RasedError, match="given for both noisy and clean"):
            pack_pairs(noisy, tmp_path / "clean", tmp_path / "out", jobs=1)


@pytest.mark.parametrize("alone", ["clean", "noisy"])
def test_a_file_without_counterpart_is_refused(random, tmp_path, alone):
    clean = voice(random, 0.5)
    write_pair(tmp_path, "a/1", clean, clean)
    soundfile.write(tmp_path / alone / "a/2.wav", clean, RATE)
    says = rf"1 of 2 files in '.*{alone}' do not have one counterpart .*'a/2.wav'.*the same path"
    with pytest.raises(RasedError, match=says):
        pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1)
    (tmp_path / alone / "a/2.wav").unlink()
    # Another suffix is the same name, and two of them are one too many.
    soundfile.write(tmp_path / "noisy/a/1.flac", clean, RATE)
    (tmp_path / "noisy/a/1.wav").rename(tmp_path / "noisy/a/1.ogg.bak")
    assert pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1).samples == 1
    soundfile.write(tmp_path / "noisy/a/1.aiff", clean, RATE)
    with pytest.raises(RasedError, match=r"\(several\)"):
        pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "other", jobs=1)
    # Also beside a file of the same name.
    (tmp_path / "noisy/a/1.ogg.bak").rename(tmp_path / "noisy/a/1.wav")
    with pytest.raises(RasedError, match=r"2 of 3 files in '.*noisy' .*'a/1.(aiff|flac)'"):
        pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "other", jobs=1)


def test_a_run_that_stopped_goes_on_and_another_request_is_refused(recorded, tmp_path):
    root, _ = recorded
    whole = pack_pairs(root / "noisy", root / "clean", tmp_path / "whole", jobs=1, shard_mb=0.05)

    def stop(done, total):
        if done == 6:
            raise KeyboardInterrupt

    arguments = (root / "noisy", root / "clean", tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        pack_pairs(*arguments, jobs=1, shard_mb=0.05, progress=stop)
    again = pack_pairs(*arguments, jobs=1, shard_mb=0.05)
    assert 0 < again.resumed < again.samples == whole.samples
    for file in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(RasedError):
        pack_pairs(*arguments, jobs=1, shard_mb=0.05, max_delay=7.0)


def test_the_test_set_of_voicebank_demand_is_refused(random, tmp_path):
    clean = voice(random, 0.5)
    write_pair(tmp_path, "p232_001", clean, clean)
    with pytest.raises(RasedError, match=r"the test set of VoiceBank\+DEMAND"):
        pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1)


def test_by_the_command_line(recorded, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root, written = recorded
    folders = [str(root / "noisy"), str(root / "clean")]
    assert main(["data", "pack", "--pairs", *folders, "--out", "shards", "--jobs", "1"]) == 0
    assert "noisy after clean: median 0.00 ms, furthest 0.00 ms" in capsys.readouterr().out
    assert main(["data", "verify", "shards"]) == 0
    assert main(["data", "info", "shards"]) == 0
    assert "pairs, flac, 16000 Hz" in capsys.readouterr().out
    (tmp_path / "pairs.yaml").write_text(
        "data: {class_path: rased.data.datamodule.MixtureDataModule, init_args: {pairs: [shards], "
        "scene: {segment: 0.5}, batch_size: 2}}"
    )
    lines = []
    for workers in ("0", "1"):
        stream = ["data", "stream", "-c", "pairs.yaml", "--samples", "0:7", "--hashes", "--json"]
        assert main([*stream, "--workers", workers]) == 0
        lines.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert lines[0] == lines[1]
    assert {row["key"] for row in lines[0]} == {key for key in written if "train" in key}
    freeze = ["data", "freeze", "--pairs", "shards", "--split", "valid", "--seed", "1"]
    assert main([*freeze, "--count", "2", "--out", "set"]) == 0
    assert main([*freeze, "--count", "2", "--out", "set"]) == 0
    assert main(["data", "verify", "set"]) == 0
    for item in json.loads((tmp_path / "set/testset.json").read_text())["items"]:
        for part, samples in zip(("target", "noisy"), written[item["speech"]], strict=True):
            found = soundfile.read(tmp_path / f"set/{part}/{item['id']}.flac", dtype="int16")[0]
            assert np.array_equal(found, samples)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("data pack --pairs a b c --out d", "--pairs NOISY CLEAN was given with SRC"),
        ("data pack --pairs a b --role speech --out d", "no other sources, no --role"),
        ("data pack a --out d", "give SRC and --role speech, noise or rir; or --pairs NOISY CLEAN"),
        (
            "data pack a --role speech --max-delay 2 --out d",
            "--max-delay was given without --pairs",
        ),
        ("data pack --pairs a b --out d", "'a' is not a folder"),
        ("data pack --pairs a b --codec opus --out d", "Pairs have two channels"),
        ("data freeze --out a --count 1 --seed 1", "Give --speech and --noise, or --pairs"),
        ("data freeze --pairs a --noise b --out a --count 1 --seed 1", "--pairs was given with"),
        ("data info missing", "is not a folder"),
    ],
)
def test_wrong_usage_says_what_to_type(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_only_bad_pairs_stop_the_run(random, tmp_path):
    clean = voice(random, 1.0)
    write_pair(tmp_path, "a/1", clean, np.roll(clean, 300))
    with pytest.raises(ProblemsFound, match="align both files"):
        pack_pairs(tmp_path / "noisy", tmp_path / "clean", tmp_path / "out", jobs=1)

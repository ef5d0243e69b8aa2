"""Test sets: frozen and plain ones, and each way in which they can be wrong."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import soundfile

from rased.data.integrity import verify
from rased.data.testset import list_sha256
from rased.errors import RasedError
from rased.evaluation.scoring import run
from rased.evaluation.testset import BUNDLE, audio_files, read_audio, read_testset
from tests.evaluation.conftest import NAMES, write_set


def freeze(folder):
    rows = []
    for name in NAMES:
        row = {"id": name, "condition": "noise", "snr_db": 5.0, "speaker": "a", "room": None}
        for part in ("noisy", "target"):
            digest = hashlib.sha256((folder / part / f"{name}.flac").read_bytes())
            row[f"sha256_{part}"] = digest.hexdigest()
        rows.append(row)
    content = {
        "schema": 1,
        "name": "mini",
        "sample_rate": 16_000,
        "count": len(rows),
        "target": "early",
        "early_ms": 50.0,
        "list_sha256": list_sha256(rows),
        "items": rows,
    }
    (folder / "testset.json").write_text(json.dumps(content))
    return content


@pytest.fixture
def frozen(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    freeze(copy)
    return copy


def test_frozen_set(frozen):
    found = read_testset(frozen)
    assert (found.name, found.target) == ("mini", "early, first 50 ms")
    assert [item.id for item in found.items] == NAMES
    assert found.items[0].facts == {"condition": "noise", "snr_db": 5.0, "speaker": "a"}


def test_the_same_files_have_the_same_fingerprint_frozen_or_plain(frozen, folder):
    assert read_testset(frozen).list_sha256 == read_testset(folder).list_sha256


def test_plain_set_with_a_manifest(folder):
    found = read_testset(folder)
    assert found.name == "tiny"
    assert found.items[1].facts == {"condition": "noise", "snr_db": 12.0, "speaker": "speaker1"}


def test_clean_is_another_word_for_target_and_without_either_there_is_none(folder, tmp_path):
    voicebank = write_set(tmp_path / "voicebank", reference="clean")
    assert read_testset(voicebank).list_sha256 == read_testset(folder).list_sha256
    shutil.rmtree(voicebank / "clean")
    found = read_testset(voicebank)
    assert found.target == "none"
    assert {item.target for item in found.items} == {None}


def test_a_changed_file_is_refused(frozen):
    soundfile.write(frozen / "noisy" / "u2.flac", np.zeros(16_000), 16_000)
    with pytest.raises(RasedError, match=r"u2\.flac' was changed after freezing"):
        read_testset(frozen)


def test_a_changed_list_is_refused(frozen):
    content = json.loads((frozen / "testset.json").read_text())
    del content["items"][0]
    (frozen / "testset.json").write_text(json.dumps(content))
    with pytest.raises(RasedError, match="was changed after freezing"):
        read_testset(frozen)


def test_a_missing_file_and_a_newer_schema_are_refused(frozen):
    (frozen / "target" / "u3.flac").unlink()
    with pytest.raises(RasedError, match=r"target/u3\.flac is missing"):
        read_testset(frozen)
    content = json.loads((frozen / "testset.json").read_text())
    (frozen / "testset.json").write_text(json.dumps({**content, "schema": 2}))
    with pytest.raises(RasedError, match="has schema 2, but this version of rased reads 1"):
        read_testset(frozen)


def test_pairs_must_match(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "target" / "u1.flac").unlink()
    (copy / "noisy" / "u4.flac").unlink()
    with pytest.raises(RasedError, match="contain different names: u1, u4 are in only one"):
        read_testset(copy)


@pytest.mark.parametrize("make", [False, True])
def test_no_folder_and_an_empty_one(tmp_path, make):
    place = tmp_path / "nothing"
    if make:
        place.mkdir()
    with pytest.raises(RasedError, match="has neither" if make else "the test set"):
        read_testset(place)


def test_audio_comes_at_the_rate_asked_for_and_with_one_channel(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((4800, 1)), 48_000)
    assert len(read_audio(tmp_path / "a.wav", sample_rate=16_000)) == 1600
    soundfile.write(tmp_path / "b.wav", np.zeros((4800, 2)), 48_000)
    with pytest.raises(RasedError, match="has 2 channels"):
        read_audio(tmp_path / "b.wav", sample_rate=16_000)


def test_the_bundled_set_is_whole():
    found = read_testset(BUNDLE)
    assert len(found.items) >= 150
    assert len({item.facts["speaker"] for item in found.items}) >= 12
    assert len(found.sources["noise", "keys"]) >= 20
    assert {"noise", "reverb+noise", "reverb"} == {item.facts["condition"] for item in found.items}


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(name="/abs/path"),
        lambda c: c.update(name="../x"),
        lambda c: c.update(name=""),
        lambda c: c.update(name=3),
        lambda c: c["items"][2].update(id="../u2"),
        lambda c: c["items"][2].update(id="/u2"),
        lambda c: c["items"][2].update(id=c["items"][1]["id"]),
        lambda c: c["items"][2].pop("id"),
        lambda c: c["items"][2].pop("sha256_noisy"),
        lambda c: c["items"][2].update(sha256_target="../x"),
        lambda c: c["items"][2].update(snr_db="5"),
        lambda c: c["items"][2].update(text=5),
        lambda c: c.update(items=[]),
        lambda c: c.update(items={}),
        lambda c: c.update(items=[3]),
        lambda c: c.update(sample_rate=0),
        lambda c: c.update(sample_rate="16000"),
        lambda c: c.update(early_ms=None),
        lambda c: c.update(contents=[]),
        lambda c: c.update(contents={"speech": {"a": "b"}}),
        lambda c: c.pop("list_sha256"),
    ],
)
def test_a_damaged_list_is_one_sentence(frozen, change):
    content = json.loads((frozen / "testset.json").read_text())
    change(content)
    (frozen / "testset.json").write_text(json.dumps(content))
    with pytest.raises(RasedError, match=f"'{frozen}/testset.json' is damaged: "):
        read_testset(frozen)


@pytest.mark.parametrize("cut", [0, 1, 100, 500])
def test_a_cut_list_is_one_sentence_wherever_it_is_read(frozen, cut):
    path = frozen / "testset.json"
    path.write_bytes(path.read_bytes()[:cut])
    for use in (read_testset, verify.summary):
        with pytest.raises(RasedError, match=r"testset\.json' is damaged: it is not JSON"):
            use(frozen)
    found = verify.verify([frozen])
    assert any("testset.json is damaged" in problem.what for problem in found.problems)


def test_hidden_files_are_left_out(folder, tmp_path):
    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)
    (copy / "noisy" / "._u0.flac").write_bytes(b"\0\5\26\7")
    (copy / "target" / ".DS_Store.wav").write_bytes(b"x")
    assert read_testset(copy).list_sha256 == read_testset(folder).list_sha256


def _with_manifest(folder, tmp_path, content):
    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)
    (copy / "manifest.csv").write_bytes(content)
    return copy


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_manifests_of_other_programs_are_read(folder, tmp_path, encoding, mark):
    content = "ID,Speaker,SNR_dB\nu1,é,-5\n".replace(",", mark).encode(encoding)
    found = read_testset(_with_manifest(folder, tmp_path, content))
    assert found.items[1].facts == {"speaker": "é", "snr_db": -5.0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,speaker\nu1,é\n".encode("latin-1"), "is not text in UTF-8"),
        (b"id,speaker\nu1," + b"x" * 140_000, "is not a table"),
        (b"name\nu1\n", "has no column 'id'"),
        (b"id,snr_db\nu1,nan\n", "'snr_db' of 'u1' contains 'nan'; it must be a number"),
        (b"id,snr_db\nu1,1e999\n", "'snr_db' of 'u1' contains '1e999'"),
        (b"id,t60\nu1,long\n", "'t60' of 'u1' contains 'long'"),
        (b"id,t60\nu1,1\nu1,2\n", "two lines for 'u1'"),
    ],
)
def test_a_damaged_manifest_is_one_sentence(folder, tmp_path, content, said):
    with pytest.raises(RasedError, match=said):
        read_testset(_with_manifest(folder, tmp_path, content))


def test_files_of_several_rates_are_told(folder, tmp_path):
    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)
    for part in ("noisy", "target"):
        soundfile.write(copy / part / "u4.flac", np.zeros(48_000), 48_000)
    found = read_testset(copy)
    assert found.sample_rates == (16_000, 48_000)
    assert "48000 to 16000 Hz" in run._resampler(found.sample_rates)
    assert run._resampler(read_testset(folder).sample_rates) == "none"


def test_every_file_that_looks_like_audio_is_an_utterance_and_hidden_ones_are_none(tmp_path):
    for name in ("a.wav", "b.WAVE", "c.m4a", "._a.wav", ".d.wav", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert list(audio_files(tmp_path)) == ["a", "b", "c"]

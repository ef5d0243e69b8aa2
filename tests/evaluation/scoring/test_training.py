"""Who has seen the test: manifests against test sets."""

import csv
import hashlib
import shutil

import pytest
import torch

from rased.data.datamodule import MixtureDataModule
from rased.errors import RasedError
from rased.evaluation.scoring.provenance import overlap, training_of
from rased.evaluation.scoring.systems import System
from rased.evaluation.testset import BUNDLE, read_testset
from rased.training.history import as_json
from tests.evaluation.conftest import NAMES, write_set


@pytest.fixture(scope="module")
def manifest():
    return MixtureDataModule().manifest()


def test_the_bundled_test_set_was_not_trained_on(manifest):
    assert overlap(manifest, read_testset(BUNDLE)) == []


def test_training_on_the_test_split_is_found():
    stolen = read_testset(BUNDLE).sources
    data = {
        "train": {
            "speech": {"keys": sorted(stolen["speech", "keys"])[:1], "labels": ["nobody"]},
            "noise": {"keys": [], "labels": sorted(stolen["noise", "labels"])},
        },
        "valid": {"rir": {"keys": [], "labels": sorted(stolen["rir", "labels"])[:2]}},
    }
    found = overlap(data, read_testset(BUNDLE))
    assert [sentence.partition(" (")[0] for sentence in found] == [
        "its train data hold 1 utterance of the test set",
        "its valid data hold 2 rooms of the test set",
    ]


def test_a_plain_folder_says_what_it_is_made_of(manifest, tmp_path):
    folder = write_set(tmp_path / "set", NAMES[:2])
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "speech", "noise", "rir"])
        spoken = "speech/train/ann/one.flac + speech/train/bob/two+.flac"
        table.writerow([NAMES[0], spoken, "hum-n2 + hum-n3", "rir/test/room/az+000_l.flac"])
        table.writerow([NAMES[1], "", "noise/test/hum/n1.opus", "rir/test/hall/h.flac"])
    given = read_testset(folder)
    assert given.sources["speech", "keys"] == {"train-ann-one", "train-bob-two"}
    assert given.sources["speech", "labels"] == {"ann", "bob"}
    assert given.sources["rir", "keys"] == {"test-hall-h", "test-room-az-000_l"}
    assert given.sources["rir", "labels"] == {"hall", "room"}
    assert given.sources["noise", "keys"] == {"test-hum-n1", "hum-n2", "hum-n3"}
    assert given.untold == {("speech", "keys"), ("speech", "labels"), ("noise", "labels")}
    data = {"train": {"speech": {"keys": ["train-ann-one"], "labels": ["ann"]}}}
    assert overlap(data, given) == [
        "its train data hold 1 utterance of the test set (train-ann-one)",
        "its train data hold 1 speaker of the test set (ann)",
    ]


def write_run(folder, manifest, *, seed, lr=1e-3, bound=True):
    (folder / "checkpoints").mkdir(parents=True)
    content = as_json(manifest)
    (folder / "manifest.json").write_text(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    torch.save({"manifest_sha256": digest} if bound else {}, folder / "checkpoints" / "best.ckpt")
    loss = "{class_path: rased.losses.waveform.SISDR}"
    (folder / "config.yaml").write_text(
        f"seed_everything: {seed}\nmodel: {{init_args: {{lr: {lr}, loss: {loss}}}}}\n"
        f"data: {{init_args: {{seed: {seed}, batch_size: 4}}}}\nrun: {{name: run{seed}}}\n"
    )
    return System(folder.name, "run", str(folder))


def test_seeds_share_a_recipe_and_losses_are_named(manifest, tmp_path):
    testset = read_testset(BUNDLE)
    one, two, other = (
        training_of(write_run(tmp_path / name, manifest, seed=seed, lr=lr), testset)
        for name, seed, lr in (("a", 1, 1e-3), ("b", 2, 1e-3), ("c", 3, 2e-3))
    )
    assert one["recipe_sha256"] == two["recipe_sha256"] != other["recipe_sha256"]
    assert (one["seed"], two["seed"]) == ("1/1", "2/2")
    assert one["optimised"] == ["si-sdr"]
    assert one["overlap"] == []
    assert len(one["manifest_sha256"]) == 64
    assert training_of(System("noisy", "noisy", "noisy"), testset) is None
    kinds = ("utterance", "speaker", "noise recording", "impulse response", "room")
    by = dict.fromkeys(kinds, "contents") | {"speaker": "names", "room": "names"}
    assert (one["checked"], one["unchecked"]) == (by, [])
    assert one["config"]["data"]["init_args"] == {"seed": 1, "batch_size": 4}


def test_what_could_not_be_checked_is_said(manifest, folder, tmp_path):
    """A test set that does not say what it is made of, weights that do not name their data, files."""
    believed = "its weights do not name their data: manifest.json is believed"
    run = write_run(tmp_path / "old", manifest, seed=1, bound=False)
    assert training_of(run, read_testset(BUNDLE))["unchecked"] == [believed]
    found = training_of(run, read_testset(folder))
    assert (list(found["checked"]), found["overlap"]) == (
        ["speaker", "impulse response", "room"],
        [],
    )
    assert found["unchecked"] == [
        "overlap not checked for utterances, noise recordings: the test set does not name all of them",
        believed,
    ]
    mute = tmp_path / "mute"
    shutil.copytree(folder, mute)
    (mute / "manifest.csv").unlink()
    found = training_of(run, read_testset(mute))
    assert found["checked"] == {}
    assert found["unchecked"][0] == (
        "overlap not checked: the test set does not say what it is made of"
    )
    (tmp_path / "old" / "manifest.json").unlink()
    unknown = "what it was trained on is not known: it may have seen this test"
    assert training_of(run, read_testset(folder))["unchecked"] == [unknown]
    found = training_of(System("others", "files", str(folder / "noisy")), read_testset(folder))
    assert found["manifest_sha256"] is None
    assert found["unchecked"] == [unknown, "whether it is causal, and how late, is not known"]


def test_a_manifest_that_is_not_the_checkpoints_is_refused(manifest, tmp_path):
    run = write_run(tmp_path / "run", manifest, seed=1)
    path = tmp_path / "run" / "manifest.json"
    path.write_text(path.read_text().replace("train-", "xtrain-"))
    with pytest.raises(
        RasedError, match=r"manifest\.json' is not the manifest of the checkpoint's training data"
    ):
        training_of(run, read_testset(BUNDLE))

"""Who has seen the test: manifests against test sets."""

import csv
import json

import pytest

from rased.data.datamodule import MixtureDataModule
from rased.evaluation.systems import System
from rased.evaluation.testset import BUNDLE, read_testset
from rased.evaluation.training import overlap, training_of
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
        table.writerow([NAMES[0], "speech/train/ann/one.flac", "hum-n2", ""])
        table.writerow([NAMES[1], "", "noise/test/hum/n1.opus", "rir/test/hall/h.flac"])
    given = read_testset(folder)
    assert given.sources["rir", "labels"] == {"hall"}
    assert given.sources["noise", "keys"] == {"test-hum-n1", "hum-n2"}
    data = {"train": {"speech": {"keys": ["train-ann-one"], "labels": ["ann"]}}}
    assert overlap(data, given) == [
        "its train data hold 1 utterance of the test set (train-ann-one)",
        "its train data hold 1 speaker of the test set (ann)",
    ]


def write_run(folder, manifest, *, seed, lr=1e-3):
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
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

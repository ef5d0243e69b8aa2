"""From training to the leaderboard: whoever trained on what the test is made of is refused."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import soundfile

from rased.cli import main
from rased.cli.train import train
from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.balanced import FrozenRecipe
from rased.data.preparation.freeze import freeze
from rased.data.preparation.pack import pack
from rased.data.testset import TESTSET
from rased.errors import RasedError
from rased.evaluation import collect
from rased.evaluation.scoring.provenance import overlap
from rased.evaluation.scoring.run import score
from rased.evaluation.scoring.systems import resolve
from rased.evaluation.testset import read_testset
from tests.training.test_resume import MODEL

ROLES = ("speech", "noise", "rir")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two steps on the bundled corpus."""
    arguments = {"scene": {"segment": 0.25}, "batch_size": 2, "samples_per_epoch": 4}
    data = {**arguments, "validation_samples": 2, **{role: ["bundle"] for role in ROLES}}
    config = {
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
        "model": MODEL,
        "data": {"class_path": "rased.data.datamodule.MixtureDataModule", "init_args": data},
        "run": {"examples": 0},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        folder = tmp_path_factory.mktemp("runs") / "tiny-run"
        assert train(config, folder) == 0
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A test set of two mixtures of training data, frozen, with all that they are made of."""
    folder = tmp_path_factory.mktemp("sets") / "seen"
    recipe = FrozenRecipe(
        count=2, seed=1, seconds=2.0, min_seconds=1.0, proportions=(0.0, 1.0, 0.0)
    )
    freeze("bundle", "bundle", "bundle", folder, recipe=recipe, split="train")
    return folder


def only(seen: Path, folder: Path, columns: tuple[str, ...]) -> Path:
    """The same mixtures in a plain folder whose manifest.csv has these columns alone."""
    shutil.copytree(seen, folder)
    (folder / TESTSET).unlink()
    items = read_items(seen)
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["id", *columns], extrasaction="ignore")
        table.writeheader()
        table.writerows(items)
    return folder


def score_one(run: Path, folder: Path, out: Path) -> None:
    """Score the run on a test set as `rased evaluate`, without its cost: a process that loads it takes seconds."""
    testset = read_testset(folder)
    score([resolve(str(run), testset, allow=["tests"])], testset, out, ("si-sdr",), cost=False)


def read_items(folder: Path) -> list[dict]:
    return json.loads((folder / TESTSET).read_text())["items"]


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (("speech",), "utterance"),
        (("speaker",), "speaker"),
        (("noise",), "noise recording"),
        (("rir",), "impulse response"),
        (("room",), "room"),
    ],
)
def test_each_column_shows_what_both_are_made_of(run, seen, tmp_path, columns, kind):
    manifest = json.loads((run / "manifest.json").read_bytes())
    (sentence,) = overlap(manifest, read_testset(only(seen, tmp_path / "known", columns)))
    assert f"its train data hold 2 {kind}s" in sentence


def test_a_system_that_trained_on_the_test_is_refused(run, seen, tmp_path, capsys):
    score_one(run, only(seen, tmp_path / "known", ("speech",)), tmp_path / "results")
    said = capsys.readouterr().err
    assert "was trained on data of this test set: its train data hold 2 utterances" in said
    with pytest.raises(
        RasedError, match=r"cannot be compared with others: its train data hold .* utterance"
    ):
        collect([tmp_path / "results"])
    assert main(["leaderboard", str(tmp_path / "results")]) == 2


def test_on_other_data_it_has_its_place_and_everything_was_checked(run, tmp_path):
    folder = tmp_path / "unseen"
    recipe = FrozenRecipe(
        count=2, seed=1, seconds=2.0, min_seconds=1.0, proportions=(0.0, 1.0, 0.0)
    )
    freeze("bundle", "bundle", "bundle", folder, recipe=recipe, split="test")
    score_one(run, folder, tmp_path / "results")
    (row,) = collect([tmp_path / "results"])
    assert row.training is not None
    assert (row.training["overlap"], row.training["unchecked"]) == ([], [])
    assert len(row.training["checked"]) == 5
    assert row.training["config"]["model"]["init_args"]["enhancer"]["class_path"].endswith(
        "TinyMask"
    )


@pytest.mark.parametrize("codec", ["flac", "pcm16"])
def test_a_noise_recording_under_another_name_is_found(seen, tmp_path, codec):
    """The noises of the training split, packed again as somebody's own with other names and another codec."""
    corpus = Corpus(["bundle"], role="noise", split="train")
    folder = tmp_path / "mine"
    for split, numbers in (
        ("train", range(0, len(corpus), 2)),
        ("valid", range(1, len(corpus), 2)),
    ):
        (folder / split / "hum").mkdir(parents=True)
        for number in numbers:
            file = folder / split / "hum" / f"{number}.wav"
            soundfile.write(file, corpus.read(number), corpus.sample_rate)
    pack([folder], tmp_path / "packed", role="noise", codec=codec, jobs=1)
    data = MixtureDataModule(noise=[str(tmp_path / "packed")])
    manifest = {split: {"noise": roles["noise"]} for split, roles in data.manifest().items()}
    names = {item["noise"] for item in read_items(seen)}
    found = overlap(manifest, read_testset(seen))
    assert found
    for sentence in found:
        assert "noise recording" in sentence
    assert all(any(name in sentence for sentence in found) for name in names)

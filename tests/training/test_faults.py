"""Faults in a real training: what cannot be read is named and counted, a dead worker and a full disk lose nothing."""

import csv
import gc
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rased.cli import main
from rased.cli.train import train
from rased.data.shards.index import bundle
from rased.errors import RasedError
from tests.training.test_resume import DATA, MODEL, curve

pytestmark = pytest.mark.usefixtures("unpublished")


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def config(
    callback: tuple[str, dict[str, Any]] | None = None, *, epochs: int = 2, **data: Any
) -> dict[str, Any]:
    """60 mixtures an epoch in batches of 6."""
    callbacks = []
    if callback is not None:
        name, arguments = callback
        callbacks = [{"class_path": f"tests.training.synthetic.{name}", "init_args": arguments}]
    trainer = {"accelerator": "cpu", "max_epochs": epochs, "log_every_n_steps": 1}
    sizes = {"samples_per_epoch": 60, "batch_size": 6, **data}
    return {
        "trainer": {**trainer, "callbacks": callbacks},
        "model": MODEL,
        "data": {**DATA, "init_args": {**DATA["init_args"], **sizes}},
        "run": {"examples": 0, "save_minutes": 0.0},
    }


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A copy of the bundled speech."""
    return shutil.copytree(bundle() / "speech", tmp_path / "speech")


def damage(speech: Path, share: float, *, behind: float = 0.25, split: str = "train") -> list[str]:
    """Overwrite some utterances of a split behind a part of their bytes; return their keys."""
    columns = json.loads((speech / "index.json").read_text())["columns"]
    of_split = [row for row, of in enumerate(columns["split"]) if of == split]
    rows = of_split[:: round(1 / share)]
    with (speech / f"{split}-000000.tar").open("r+b") as file:
        for row in rows:
            size, start = columns["bytes"][row], round(behind * columns["bytes"][row])
            file.seek(columns["offset"][row] + start)
            file.write(bytes((size - start) // 2))
    return [columns["key"][row] for row in rows]


def test_bad_samples_are_counted_and_named_and_the_run_goes_on(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = damage(speech, 0.1)
    run = tmp_path / "run"
    settings = config(speech=[str(speech)], max_bad_share=0.5, num_workers=1)
    assert train(settings, run) == 0
    named = (run / "skipped.txt").read_text().splitlines()
    assert named
    assert len(named) == len(set(named))
    for sentence in named:
        assert any(f"Sample {key} of" in sentence for key in keys)
        assert "rased data verify" in sentence
    said = capsys.readouterr().err
    assert all(f"skipped: {sentence}" in said for sentence in named)
    assert said.count("kept in memory: 48 of 48 rooms decoded, in each process") == 1
    with (run / "metrics.csv").open() as file:
        counts = [float(row["data/skipped"]) for row in csv.DictReader(file) if row["data/skipped"]]
    assert counts == sorted(counts)
    assert counts[0] <= len(named) <= counts[-1] <= 120 * 0.5


def test_more_than_the_share_stops_the_run(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(speech, 0.25)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config(speech=[str(speech)], max_bad_share=0.05)))
    assert main(["train", "-c", str(path), "--runs", str(tmp_path), "--name", "run"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "max_bad_share 0.05 allows" in said
    assert "rased data verify" in said
    assert len((tmp_path / "run" / "skipped.txt").read_text().splitlines()) > 5


def test_batches_without_a_good_sample_are_left_to_the_share(speech: Path, tmp_path: Path) -> None:
    """With batches of one, each bad sample is all of its batch."""
    keys = damage(speech, 0.2)
    run = tmp_path / "run"
    sizes = {"batch_size": 1, "samples_per_epoch": 30, "validation_samples": 3}
    assert train(config(speech=[str(speech)], max_bad_share=0.9, **sizes), run) == 0
    named = (run / "skipped.txt").read_text()
    assert any(f"Sample {key} of" in named for key in keys)
    with (run / "metrics.csv").open() as file:
        norms = [
            float(row["train/grad_norm"]) for row in csv.DictReader(file) if row["train/grad_norm"]
        ]
    assert len(norms) == 60
    assert 0 < sum(norm == 0 for norm in norms) < 30


def test_nothing_but_bad_samples_is_one_sentence_also_from_a_worker(
    speech: Path, tmp_path: Path
) -> None:
    damage(speech, 1.0, behind=0.0)
    with pytest.raises(RasedError, match=r"^\d+ of \d+ samples .* could not be read.*\n  Sample"):
        train(config(speech=[str(speech)], num_workers=1), tmp_path / "run")


def test_bad_samples_of_validation_are_named(speech: Path, tmp_path: Path) -> None:
    keys = damage(speech, 0.5, split="valid")
    run = tmp_path / "run"
    sizes = {"batch_size": 1, "samples_per_epoch": 4, "validation_samples": 12}
    assert train(config(speech=[str(speech)], max_bad_share=0.9, **sizes), run) == 0
    named = (run / "skipped.txt").read_text().splitlines()
    assert named
    assert all(any(f"Sample {key} of" in sentence for key in keys) for sentence in named)


# The destructor of PyTorch's loader reports the death of the other workers once more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_dies_is_one_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    """It dies while most of the epoch is still to be read, however fast the workers are."""
    expected, run = tmp_path / "expected", tmp_path / "run"
    sizes = {"batch_size": 3, "num_workers": 2, "epochs": 1}
    assert train(config(**sizes), expected) == 0
    with pytest.raises(RasedError, match=r"a data loader process died.*--resume"):
        train(config(("KilledWorker", {"count": 2}), **sizes), run)
    gc.collect()  # here, not within a later test
    assert train(config(**sizes), run) == 0
    assert curve(run) == curve(expected)


@pytest.mark.parametrize("death", ["WrappedDeath", "SecondDeath"])
def test_a_death_in_the_middle_of_a_statement_is_the_same_sentence(
    death: str, tmp_path: Path
) -> None:
    """Another error wraps it, or a second one comes while the first is dealt with: no handler is left behind."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RasedError, match=r"a data loader process died.*--resume"):
        train(config((death, {})), tmp_path / "run")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk of a megabyte fills up behind the first steps."""
    expected, run = tmp_path / "expected", small_disk / "run"
    assert train(config(epochs=1), expected) == 0
    path = tmp_path / "config.yaml"
    full = ("FullDisk", {"disk": str(small_disk), "count": 4})
    path.write_text(yaml.safe_dump(config(full, epochs=1)))
    capsys.readouterr()
    assert main(["train", "-c", str(path), "--runs", str(small_disk), "--name", "run"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be written: No space left on device" in said or "No space left" in said
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < stored["global_step"] < 10
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert train(config(epochs=1), run) == 0
    assert curve(run) == curve(expected)

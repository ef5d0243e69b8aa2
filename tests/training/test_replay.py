"""`rased replay`: the wavs of a step are what the module got in it, also after resumes in other sizes."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
import yaml

from rased.cli import main
from rased.cli.replay import PARTS, replay
from rased.cli.train import train
from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures import order
from rased.data.shards.index import bundle
from rased.errors import RasedError
from rased.machine import commit
from rased.training.history import (
    MANIFEST,
    History,
    Launch,
    as_json,
    launch_of,
    manifest_of,
    read_launches,
    read_manifest,
)
from tests.training.test_resume import MODEL

pytestmark = pytest.mark.usefixtures("unpublished")

SCENE = {
    "segment": 0.25,
    "noises": [0.5, 0.5],
    "noise_probability": 0.8,
    "shaping_probability": 0.5,
    "distortions": {"clipping": 0.3, "packet_loss": 0.3},
}


def config(root: Path, *, batch_size: int, stop: int | None, every: int) -> dict[str, Any]:
    """14 samples an epoch, 2 epochs, stopped behind so many batches."""
    callbacks: list[dict[str, Any]] = [
        {
            "class_path": "tests.training.synthetic.Heard",
            "init_args": {"folder": str(root / "heard")},
        }
    ]
    if stop is not None:
        arguments = {"hook": "on_train_batch_end", "count": stop}
        callbacks.append({"class_path": "tests.training.synthetic.Signal", "init_args": arguments})
    trainer = {"accelerator": "cpu", "max_epochs": 2, "accumulate_grad_batches": every}
    sources = {role: [str(root / "shards")] for role in ("speech", "noise", "rir")}
    arguments = {"scene": SCENE, "batch_size": batch_size, "samples_per_epoch": 14, **sources}
    return {
        "trainer": {**trainer, "log_every_n_steps": 1, "callbacks": callbacks},
        "model": MODEL,
        "data": {
            "class_path": "rased.data.datamodule.MixtureDataModule",
            "init_args": {**arguments, "validation_samples": 2},
        },
        "run": {"examples": 0},
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN with three launches: batches of 2, of 3 with two a step, of 5; what the module got lies in heard/."""
    root = tmp_path_factory.mktemp("replay")
    (root / "shards").mkdir()
    for role in ("speech", "noise", "rir"):
        (root / "shards" / role).symlink_to(bundle() / role)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        run = root / "run"
        assert train(config(root, batch_size=2, stop=2, every=1), run) == 143
        assert train(config(root, batch_size=3, stop=3, every=2), run) == 143
        assert train(config(root, batch_size=5, stop=None, every=1), run) == 0
    return root


def test_every_step_is_replayed_exactly(root: Path, tmp_path: Path) -> None:
    launches = read_launches(root / "run")
    assert [launch.batch_size for launch in launches] == [2, 3, 5]
    steps = sorted({int(path.stem[:3]) for path in (root / "heard").iterdir()})
    assert steps == list(range(1, steps[-1] + 1))
    epochs: dict[int, list[int]] = {0: [], 1: []}
    names = []
    for step in steps:
        replayed = replay(root / "run", step, tmp_path / str(step))
        numbers = [sample["batch"] for sample in replayed["samples"]]
        heard = sorted((root / "heard").glob(f"{step:03d}-*.pt"))
        assert max(numbers) + 1 == len(heard)
        epochs[replayed["epoch"]] += [sample["index"] for sample in replayed["samples"]]
        for number, path in enumerate(heard):
            mixture = torch.load(path, weights_only=True)
            drawn = [sample for sample in replayed["samples"] if sample["batch"] == number]
            assert mixture["index"].tolist() == [sample["index"] for sample in drawn]
            for row, sample in enumerate(drawn):
                for part in PARTS:
                    wav = tmp_path / str(step) / f"{sample['index']:06d}-{part}.wav"
                    audio, rate = soundfile.read(wav, dtype="float32")
                    assert rate == 16_000
                    np.testing.assert_array_equal(audio, mixture[part][row].numpy())
                assert mixture["key"][row] == "+".join(p["key"] for p in sample["speech"])
                assert mixture["noise_key"][row] == "+".join(p["key"] for p in sample["noise"])
                assert mixture["rir_key"][row] == (sample["rir"] or "")
                kinds = "+".join(one["kind"] for one in sample["distortions"])
                assert mixture["distorted"][row] == kinds
                if sample["snr_db"] is not None:
                    assert mixture["snr_db"][row] == pytest.approx(sample["snr_db"])
                names.append(kinds)
    assert epochs == {0: list(range(14)), 1: list(range(14))}
    assert any(names)


def test_the_verb_tells_what_it_wrote(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = root / "run"
    assert main(["replay", str(run), "--step", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines[:-1]] == ["000002", "000003"]
    assert str(run / "replay" / "000002") in lines[-1]
    assert main(["replay", "run", "--runs", str(root), "--step", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((run / "replay" / "000002" / "batch.json").read_text())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--step", "0"], r"--step is 0; .* has the steps 1 to \d+"),
        (["run", "--step", "99"], r"--step is 99; .* has the steps 1 to"),
        (["rum", "--step", "1"], "the run 'rum' does not exist.*did you mean 'run'"),
        (["run", "--step", "one"], "invalid int value: 'one'"),
    ],
)
def test_mistakes_are_one_sentence(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["replay", *words, "--runs", str(root)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(sentence, said)


def test_data_that_are_gone_or_have_changed_are_named(root: Path, tmp_path: Path) -> None:
    def moved(change: str) -> Path:
        """The run, as if it had read from another folder."""
        run = tmp_path / change
        shutil.copytree(root / "run", run, ignore=shutil.ignore_patterns("*.ckpt", "replay"))
        launches = yaml.safe_load((run / "launches.yaml").read_text())
        for launch in launches:
            launch["config"]["data"]["init_args"]["speech"] = [str(tmp_path / "data")]
        (run / "launches.yaml").write_text(yaml.safe_dump(launches))
        return run

    with pytest.raises(RasedError, match=r"No shards of role speech in '.*data'"):
        replay(moved("gone"), 1, tmp_path / "out")
    (tmp_path / "data").mkdir()
    shutil.copytree(bundle() / "speech", tmp_path / "data" / "speech")
    index = tmp_path / "data" / "speech" / "index.json"
    stored = json.loads(index.read_text())
    stored["columns"]["label"][stored["columns"]["split"].index("train")] = "somebody-else"
    index.write_text(json.dumps(stored))
    with pytest.raises(RasedError, match="the speech corpus has changed since the run trained"):
        replay(moved("changed"), 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_has_not_begun_is_named(tmp_path: Path) -> None:
    with pytest.raises(RasedError, match=r"has not started to train: launches\.yaml is missing"):
        replay(tmp_path, 1, tmp_path / "out")


def test_steps_belong_to_the_launch_that_did_them_last(root: Path) -> None:
    launches = read_launches(root / "run")
    begun = [launch.step for launch in launches]
    assert begun[0] == 0
    assert [launch_of(launches, step).batch_size for step in (1, 2, 3)] == [2, 2, 3]
    assert [launch.broke for launch in launches] == [3, begun[2] + 1, None]


def test_a_launch_that_fails_before_it_begins_changes_no_other(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "run" / "launches.yaml", tmp_path)
    before = read_launches(tmp_path)
    failed = History(tmp_path, {})
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    failed.on_exception(trainer, pl.LightningModule(), OSError("the checkpoint is gone"))
    assert read_launches(tmp_path) == before


def test_a_launch_knows_the_commit_that_trained(root: Path) -> None:
    assert {launch.git for launch in read_launches(root / "run")} == {commit()}


def test_the_manifest_is_that_of_the_data(root: Path) -> None:
    manifest = read_manifest(root / "run")
    index = json.loads((bundle() / "speech" / "index.json").read_text())["columns"]
    keys = [k for k, split in zip(index["key"], index["split"], strict=True) if split == "train"]
    assert manifest is not None
    assert manifest["train"]["speech"]["keys"] == sorted(keys)
    assert manifest.keys() == {"train", "valid"}


def test_checkpoints_name_the_manifest(root: Path) -> None:
    content = (root / "run" / MANIFEST).read_bytes()
    for path in (root / "run" / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["manifest_sha256"] == hashlib.sha256(content).hexdigest()
        assert manifest_of(root / "run", checkpoint) == content


class Growing(MixtureDataModule):
    """Each launch adds a recording."""

    def manifest(self, kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {**(kept or {}), f"split{len(kept or {})}": {}}


def test_the_manifest_of_an_earlier_checkpoint_stays_beside_the_new_one(tmp_path: Path) -> None:
    history, digests = History(tmp_path, {}), []
    for _ in range(3):
        history._write_manifest(Growing())
        digests.append(hashlib.sha256((tmp_path / MANIFEST).read_bytes()).hexdigest())
    for count, digest in enumerate(digests, 1):
        wanted = {f"split{number}": {} for number in range(count)}
        found = manifest_of(tmp_path, {"manifest_sha256": digest})
        assert found == as_json(wanted).encode()
    assert manifest_of(tmp_path, {}) == (tmp_path / MANIFEST).read_bytes()
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(
        RasedError, match=r"manifest\.json' is not the manifest of the checkpoint's training data"
    ):
        manifest_of(tmp_path, {"manifest_sha256": digests[-1]})


def test_a_step_is_found_in_constant_time() -> None:
    """Steps in epochs of 10 million batches, from a position within one, against counting them."""
    for every in (1, 3):
        small = launch(batch=4, batches_per_epoch=10, every=every)
        counted: list[tuple[int, int, int]] = []
        for epoch in (7, 8, 9):
            begun, position = (4, 4 * 6) if epoch == 7 else (0, 0)
            first = begun
            for number in range(begun, 10):
                if (number + 1) % every == 0 or number == 9:
                    at = order.consumed(first - begun, position, 60, batch_size=2, world_size=3)
                    counted.append((epoch, at, number + 1 - first))
                    first = number + 1
        steps = range(101, 101 + len(counted))
        assert [small.batches(step, 60) for step in steps] == counted
    large = launch(batch=9_000_000, batches_per_epoch=10_000_000, every=1)
    assert large.batches(1_000_101 + 10_000_000 * 5, 60_000_000) == (13, 0, 1)


def launch(*, batch: int, batches_per_epoch: int, every: int) -> Launch:
    return Launch(
        step=100,
        epoch=7,
        position=6 * batch,
        batch=batch,
        batches_per_epoch=batches_per_epoch,
        batch_size=2,
        world_size=3,
        accumulate_grad_batches=every,
        corpora={},
        config={},
    )

"""The commands on a card make the weights of the entry again, to the last bit."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rased import zoo
from rased.cli import main
from rased.training.history import Launch
from rased.zoo.card import read_card
from rased.zoo.publish import publish
from rased.zoo.recipe import recipe
from tests.training.test_origin import SHORT, SMALL


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def again(entry: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Type the commands of a card beside its files; return the entry that they make."""
    folder.mkdir()
    for path in entry.glob("*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(folder)
    for command in read_card(entry)["training"]["command"].split(" && "):
        assert main(shlex.split(command)[1:]) == 0
    return folder / "zoo" / entry.name


def test_a_run_of_two_launches_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first launch stops before its budget, the second has another rate and ends before its own."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**SHORT, "model": SMALL}))
    runs = ["--runs", str(tmp_path / "runs")]
    words = ["train", "-c", str(config), "--name", "first", *runs]
    assert main([*words, "--trainer.max_steps", "20", "--run.stop_after", "3"]) == 0
    resume = ["train", "--resume", "first", *runs]
    assert main([*resume, "--model.lr", "0.01", "--run.stop_after", "5"]) == 0
    assert main([*resume, "--run.stop_after", "9"]) == 0
    entry = publish(
        tmp_path / "runs" / "first", "mine", tmp_path / "zoo", attenuation_limit_db=12.0
    )
    command = read_card(entry)["training"]["command"]
    assert command.startswith("rased train -c training-1.yaml --name mine --run.stop_after 3 && ")
    assert "rased train --resume runs/mine -c training.yaml --run.stop_after" in command
    made = again(entry, tmp_path / "again", monkeypatch)
    expected = zoo.load(str(entry)).state_dict()
    for name, value in zoo.load(str(made)).state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_run_in_one_go_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**SHORT, "model": SMALL}))
    words = ["train", "-c", str(config), "--runs", str(tmp_path / "runs"), "--name", "whole"]
    assert main(words) == 0
    entry = tmp_path / "runs" / "whole" / "zoo" / "whole"
    made = again(entry, tmp_path / "again", monkeypatch)
    expected = zoo.load(str(entry)).state_dict()
    assert all(
        torch.equal(value, expected[name])
        for name, value in zoo.load(str(made)).state_dict().items()
    )


def launch(step: int, **config: Any) -> Launch:
    trainer = {"max_steps": 100, "max_epochs": -1}
    return Launch(
        step=step,
        epoch=0,
        position=0,
        batch=0,
        batches_per_epoch=10,
        batch_size=4,
        world_size=1,
        accumulate_grad_batches=1,
        corpora={},
        config={"trainer": trainer, "model": {}, "data": {}, "run": {}, **config},
    )


def test_launches_that_only_went_on_are_one_command() -> None:
    launches = [launch(0), launch(30), launch(70)]
    assert recipe(launches, 100, "x", {}).commands == ["rased train -c training.yaml --name x"]
    assert recipe(launches, 90, "x", {}).commands == [
        "rased train -c training.yaml --name x --run.stop_after 90"
    ]


@pytest.mark.parametrize(
    ("launches", "message"),
    [
        ([], "launches.yaml does not record"),
        ([launch(7)], "first 7 steps"),
        ([launch(0, model={"class_path": "mine.Model"})], "mine.Model"),
        ([launch(0, run={"start_from": "runs/old"})], "'runs/old'"),
    ],
)
def test_what_nothing_repeats_says_why(launches: list[Launch], message: str) -> None:
    found = recipe(launches, 100, "x", {"a": 1})
    assert found.commands == []
    assert message in found.obstacle
    assert found.configs == {"training.yaml": {"a": 1}}


def test_a_run_that_nothing_repeats_is_published_only_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**SHORT, "model": SMALL}))
    assert main(["train", "-c", "config.yaml", "--name", "mine"]) == 0
    (tmp_path / "runs/mine/launches.yaml").unlink()
    words = ["zoo", "publish", "runs/mine", "--name", "mine"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "the weights of 'runs/mine' cannot be reproduced" in said
    assert "--not-repeatable" in said
    assert not (tmp_path / "zoo/mine").exists()
    assert main([*words, "--not-repeatable"]) == 0
    told = read_card(tmp_path / "zoo/mine")["training"]
    assert "command" not in told
    assert told["not_repeatable"] in said

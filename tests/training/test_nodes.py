"""Several nodes: the losses of one machine; after a lost node, the samples that would have followed."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import rased
from rased.data.mixtures import stages
from rased.errors import RasedError
from rased.training.checkpoint import load_module
from rased.training.history import Launch, read_launches
from rased.training.metrics import read_metrics
from rased.zoo.publish import publish
from tests.forks import ended
from tests.training.nodes import Node, free_port, one_machine, slurm_task, two_nodes
from tests.training.test_kill import COUNT, plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("unpublished")]


def config(folder: Path, **trainer: Any) -> str:
    """A configuration in which every random number has an address, so that any layout gives the same losses."""
    enhancer = {"class_path": "tests.training.synthetic.TinyMask", "init_args": {"dropout": 0.0}}
    seen = {
        "class_path": "tests.training.synthetic.SeenBy",
        "init_args": {"file": str(folder / "seen")},
    }
    scene = {"scene": {"segment": 0.25}, "samples_per_epoch": COUNT, "validation_samples": 4}
    content = {
        "trainer": {
            **{"accelerator": "cpu", "max_epochs": -1, "log_every_n_steps": 1, "callbacks": [seen]},
            **trainer,
        },
        "model": {
            "class_path": "rased.training.mask.MaskEnhancement",
            "init_args": {"enhancer": enhancer, "warmup_steps": 2, "ema_decay": 0.9},
        },
        "data": {
            "class_path": "rased.data.datamodule.MixtureDataModule",
            "init_args": {**scene, "batch_size": 2},
        },
        "run": {"examples": 0, "evaluate": []},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


def words(folder: Path, name: str, *more: str, **trainer: Any) -> list[str]:
    runs = ["--runs", str(folder / "runs"), "--name", name]
    return ["train", "-c", config(folder, **trainer), *runs, *more]


def losses(run: Path) -> list[float]:
    rows, _ = read_metrics(run / "metrics.csv")
    return [row.values["train/loss"] for row in rows if "train/loss" in row.values]


def differ(first: list[float], second: list[float]) -> float:
    return max(abs(one - other) for one, other in zip(first, second, strict=True))


def on_nodes(
    nodes: list[Node], command: list[str], folder: Path, **agent: Any
) -> list[BaseProcess]:
    return [node.start(command, folder / f"said-{node.address}", **agent) for node in nodes]


def said(folder: Path) -> str:
    return "\n".join(file.read_text()[-2000:] for file in folder.glob("said*"))


def test_two_nodes_train_like_one_machine(tmp_path: Path) -> None:
    # An epoch of whole steps: a rest of one sample is a step for one rank, and joins the step before for two.
    ddp = ("-c", "trainer/ddp", "--data.init_args.samples_per_epoch", "60")
    with two_nodes() as nodes:
        command = words(tmp_path, "nodes", *ddp, max_steps=50)
        agents = on_nodes(nodes, command, tmp_path)
        assert [ended(one, 600) for one in agents] == [0, 0], said(tmp_path)
    for name, ranks, size in (("machine", 2, 2), ("alone", 1, 4)):
        batch = ("--data.init_args.batch_size", str(size))
        command = words(tmp_path, name, *ddp, *batch, max_steps=50)
        agent = one_machine(command, tmp_path / f"said-{name}", ranks=ranks)
        assert ended(agent, 600) == 0, said(tmp_path)
    runs = [tmp_path / "runs" / name for name in ("nodes", "machine", "alone")]
    nodes_losses, machine_losses, alone_losses = map(losses, runs)
    assert len(nodes_losses) == 50
    assert nodes_losses == machine_losses
    assert differ(nodes_losses, alone_losses) < 1e-5
    kept, other = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in runs[:2]
    )
    assert all(torch.equal(value, other[name]) for name, value in kept.items())
    launches = [read_launches(run)[0] for run in runs]
    assert [one.world_size for one in launches] == [2, 2, 1]


def until(met: Callable[[], bool], folder: Path, processes: list[BaseProcess]) -> None:
    deadline = time.monotonic() + 600
    while not met():
        assert time.monotonic() < deadline, said(folder)
        assert any(one.is_alive() for one in processes), said(folder)
        time.sleep(0.05)


def launches_of(run: Path) -> list[Launch]:
    return read_launches(run) if (run / "launches.yaml").is_file() else []


def steps_of(run: Path) -> int:
    """Steps of last.ckpt."""
    last = run / "checkpoints" / "last.ckpt"
    return torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0


def trained(run: Path, ranks: int, steps: int) -> Callable[[], bool]:
    """Whether a launch of so many ranks has saved so many steps of its own."""

    def met() -> bool:
        launches = launches_of(run)
        if not launches or launches[-1].world_size != ranks:
            return False
        return steps_of(run) >= launches[-1].step + steps

    return met


def rows_of(folder: Path, ranks: int) -> list[dict[str, Any]]:
    """What the ranks of a launch trained on; a kill may cut off the last line of each."""
    rows = []
    for rank in range(ranks):
        lines = (folder / f"seen-{ranks}-{rank}").read_text().split("\n")[:-1]
        rows += [json.loads(line) for line in lines]
    return sorted(rows, key=lambda row: (row["step"], row["rank"]))


def test_a_lost_node_costs_no_sample(tmp_path: Path) -> None:
    chance, run = random.Random(14), tmp_path / "runs" / "run"
    save = ("--run.save_minutes", "0.003")
    command = words(tmp_path, "run", "-c", "trainer/ddp", *save, max_steps=100_000)
    with two_nodes() as nodes:
        agents = on_nodes(nodes, command, tmp_path, count="1:2", restarts=3)
        until(trained(run, 2, chance.randint(1, 12)), tmp_path, agents)
        nodes[1].kill()  # the other one goes on by itself
        until(trained(run, 1, chance.randint(1, 12)), tmp_path, agents)
        nodes[0].kill()
        for agent in agents:
            agent.join(60)
    agent = one_machine(command, tmp_path / "said-three", ranks=3)
    until(trained(run, 3, chance.randint(1, 12)), tmp_path, [agent])
    agent.terminate()  # all ranks save and stop
    agent.join(120)
    launches = read_launches(run)
    assert [launch.world_size for launch in launches] == [2, 1, 3]
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    ends = [(one.step, one.epoch * COUNT + one.position) for one in launches[1:]]
    position = stored["MixtureDataModule"]
    ends.append((stored["global_step"], position["epoch"] * COUNT + position["position"]))
    begin = 0
    for launch, (step, end) in zip(launches, ends, strict=True):
        assert launch.epoch * COUNT + launch.position == begin
        rows = rows_of(tmp_path, launch.world_size)
        followed = plain(rows)
        assert followed == [divmod(begin + number, COUNT) for number in range(len(followed))]
        kept = plain([row for row in rows if row["step"] <= step])
        assert kept == [divmod(number, COUNT) for number in range(begin, end)]
        begin = end


def test_a_job_of_slurm_saves_when_its_time_ends_and_continues(tmp_path: Path) -> None:
    run, number = tmp_path / "runs" / "run", free_port()
    command = words(
        tmp_path, "run", "-c", "trainer/ddp", "--run.save_minutes=0.003", max_steps=100_000
    )
    ends = []
    for launch in range(1, 3):
        tasks = [slurm_task(command, tmp_path / f"said-{rank}", rank, number) for rank in range(2)]
        until(lambda: len(launches_of(run)) == launch and trained(run, 2, 2)(), tmp_path, tasks)  # noqa: B023
        for task in tasks:
            os.kill(task.pid or 0, signal.SIGUSR1)
        assert [ended(task, 600) for task in tasks] == [128 + signal.SIGUSR1] * 2, said(tmp_path)
        ends.append(steps_of(run))
    first, second = launches_of(run)
    assert (first.step, second.step) == (0, ends[0])
    # Nothing was lost, so all steps of both launches are one sequence.
    followed = plain(rows_of(tmp_path, 2))
    assert followed == [divmod(number, COUNT) for number in range(len(followed))]


def test_a_rank_without_a_good_sample_does_not_stop_divided_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak = stages._speak

    def speak_but_on_one_rank(*arguments: Any) -> None:
        if torch.distributed.get_rank() == 1:
            raise RasedError("Sample lost of nowhere")
        speak(*arguments)

    monkeypatch.setattr(stages, "_speak", speak_but_on_one_rank)
    for way in ("ddp", "fsdp"):
        more = ("-c", f"trainer/{way}", "--data.init_args.max_bad_share", "1.0")
        agent = one_machine(words(tmp_path, way, *more, max_steps=6), tmp_path / "said", ranks=2)
        assert ended(agent, 600) == 0, said(tmp_path)
    copies, divided = (losses(tmp_path / "runs" / way) for way in ("ddp", "fsdp"))
    assert len(copies) == 6
    assert differ(copies, divided) < 1e-5


def test_divided_weights_are_those_of_copies(tmp_path: Path) -> None:
    sharded, copies = ("-c", "trainer/fsdp"), ("-c", "trainer/ddp")
    for name, more in (("sharded", sharded), ("copies", copies)):
        agent = one_machine(words(tmp_path, name, *more, max_steps=12), tmp_path / "said", ranks=2)
        assert ended(agent, 600) == 0, said(tmp_path)
    runs = tmp_path / "runs"
    assert differ(losses(runs / "sharded"), losses(runs / "copies")) < 1e-5
    # Ordinary checkpoints, which each way of training continues.
    for name, ways in (("there", (sharded, copies)), ("back", (copies, sharded))):
        for way, stop in zip(ways, ("--run.stop_after=5", "--run.stop_after=100"), strict=True):
            resumed = ["train", "--resume", str(runs / name)]
            start = words(tmp_path, name, max_steps=12) if not (runs / name).exists() else resumed
            agent = one_machine([*start, *way, stop], tmp_path / "said", ranks=2)
            assert ended(agent, 600) == 0, said(tmp_path)
        assert differ(losses(runs / name), losses(runs / "copies")) < 1e-5
    for name in ("best.ckpt", "last.ckpt"):
        own, other = (
            torch.load(runs / run / "checkpoints" / name, weights_only=True)
            for run in ("sharded", "copies")
        )
        assert own["state_dict"].keys() == other["state_dict"].keys()
        for key, value in own["state_dict"].items():
            assert type(value) is torch.Tensor
            torch.testing.assert_close(value, other["state_dict"][key], atol=1e-5, rtol=0)
    module = load_module(runs / "sharded" / "checkpoints" / "best.ckpt", allow=["tests"])
    noisy = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    assert module.average(noisy).shape == noisy.shape
    publish(runs / "sharded", "mine", tmp_path / "zoo", allow=["tests"])
    published = rased.load(tmp_path / "zoo" / "mine", allow=["tests"])
    torch.testing.assert_close(published(noisy), module.average.eval()(noisy), atol=1e-6, rtol=0)

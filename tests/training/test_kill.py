"""A training process is killed at random moments and goes on in other sizes: nothing is lost, nothing comes twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rased.cli.replay import replay
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.plan import Plan, Scene
from tests.training.test_resume import MODEL, ROOT

COUNT = 61
Row = dict[str, Any]


def config(file: Path) -> dict[str, Any]:
    seen = {"class_path": "tests.training.synthetic.Seen", "init_args": {"file": str(file)}}
    arguments = {"scene": {"segment": 0.25}, "samples_per_epoch": COUNT, "validation_samples": 4}
    return {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": -1,
            "max_steps": 100_000,  # it is killed long before
            "log_every_n_steps": 1,
            "use_distributed_sampler": False,
            "callbacks": [seen],
        },
        "model": MODEL,
        "data": {
            "class_path": "rased.data.datamodule.MixtureDataModule",
            "init_args": {**arguments, "batch_size": 2},
        },
        "run": {"examples": 0, "save_minutes": 0.003, "evaluate": []},
    }


def sizes(*, strategy: str, devices: int, batch_size: int, num_workers: int) -> list[str]:
    trainer = ["--trainer.strategy", strategy, "--trainer.devices", str(devices)]
    data = ["--data.init_args.batch_size", str(batch_size)]
    return [*trainer, *data, "--data.init_args.num_workers", str(num_workers)]


def launch(words: list[str], runs: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "rased", "train", "--runs", str(runs), *words],
        cwd=ROOT,
        env={**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def killed(words: list[str], folder: Path, after: float) -> dict[str, int]:
    """Kill all processes of a launch some time after its first checkpoint; return where its last one stands."""
    process = launch(words, folder.parent)
    last, begun = folder / "checkpoints" / "last.ckpt", time.time()
    deadline = time.monotonic() + 240
    while not last.is_file() or last.stat().st_mtime < begun:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    stored = torch.load(last, weights_only=True)
    return {"step": stored["global_step"], **stored["MixtureDataModule"]}


def seen(file: Path) -> list[Row]:
    """Rows of a launch by step; the last line may be cut off by the kill."""
    lines = file.read_text().split("\n")[:-1]
    file.unlink()
    return sorted((json.loads(line) for line in lines), key=lambda row: (row["step"], row["rank"]))


def plain(rows: list[Row]) -> list[tuple[int, int]]:
    """(epoch, index) in the order of the epoch; every rank had its share of every step that all have done."""
    ranks = {row["rank"] for row in rows}
    samples = []
    for _, step in groupby(rows, key=lambda row: row["step"]):
        of_step = list(step)
        if {row["rank"] for row in of_step} != ranks:
            continue  # the kill came between two ranks
        indices = [index for row in of_step for index in row["index"]]
        if len({*indices}) < len(ranks):
            # Fewer samples than ranks were left of the epoch: some ranks have had the same one.
            indices = sorted({*indices})
        assert indices == list(range(indices[0], indices[0] + len(indices)))
        samples += [(of_step[0]["epoch"], index) for index in indices]
    return samples


@pytest.mark.slow
def test_what_follows_a_kill_is_what_would_have_followed(tmp_path: Path) -> None:
    chance = random.Random(1)
    folder, file = tmp_path / "runs" / "run", tmp_path / "seen"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(file)))
    launches = [
        ["-c", str(tmp_path / "config.yaml"), "--name", "run"],
        ["--resume", "run", *sizes(strategy="ddp", devices=2, batch_size=3, num_workers=1)],
        ["--resume", "run", *sizes(strategy="auto", devices=1, batch_size=4, num_workers=2)],
    ]
    state = {"step": 0, "epoch": 0, "position": 0}
    kept: list[Row] = []
    for words in launches:
        before, state = state, killed(words, folder, after=chance.uniform(0.3, 1.5))
        rows = seen(file)
        assert {row["rank"] for row in rows} == ({0, 1} if "ddp" in words else {0})
        followed = plain(rows)
        first = before["epoch"] * COUNT + before["position"]
        wanted = [divmod(number, COUNT) for number in range(first, first + len(followed))]
        assert followed == wanted
        done = [row for row in rows if row["step"] <= state["step"]]
        assert len(done) < len(rows) or state["step"] == rows[-1]["step"]
        kept += done
    samples = [(row["epoch"], index) for row in kept for index in row["index"]]
    assert sorted(samples) == [divmod(number, COUNT) for number in range(len(samples))]
    assert len(samples) == state["epoch"] * COUNT + state["position"]

    scene = Scene(segment=0.25)
    speech, noise, rir = (
        Corpus(["bundle"], role=role, split="train") for role in ("speech", "noise", "rir")
    )
    plan = Plan(speech=speech, noise=noise, rir=rir, scene=scene, seed=0, count=COUNT)
    for row in kept:
        for index, (key, noise_key, rir_key) in zip(row["index"], row["key"], strict=True):
            drawn = plan.draw(row["epoch"], index)
            assert key == "+".join(str(speech.key[piece.recording]) for piece in drawn.speech)
            assert noise_key == "+".join(str(noise.key[piece.recording]) for piece in drawn.noise)
            assert rir_key == ("" if drawn.rir is None else str(rir.key[drawn.rir]))

    for step in {kept[0]["step"], kept[len(kept) // 2]["step"], kept[-1]["step"]}:
        replayed = replay(folder, step, tmp_path / str(step))["samples"]
        trained = [
            (row["rank"], index) for row in kept if row["step"] == step for index in row["index"]
        ]
        assert [(sample["rank"], sample["index"]) for sample in replayed] == trained

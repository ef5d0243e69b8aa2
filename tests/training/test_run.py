"""A run folder: what is in it, what the command line says, and what a signal leaves behind."""

import csv
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml

from rased.cli.train import main, train
from rased.errors import RasedError
from rased.training.checkpoint import build_module, load_module
from rased.training.resume import WholeCheckpoints
from rased.training.tracking import MetricsCSV
from rased.zoo.runs import load_run
from tests.forks import ended, started
from tests.training.synthetic import mixture

MODEL = {
    "class_path": "rased.training.mask.MaskEnhancement",
    "init_args": {
        "enhancer": {"class_path": "tests.training.synthetic.TinyMask"},
        "loss": {"class_path": "rased.losses.waveform.SNR"},
        "ema_decay": 0.8,
        "lr": 0.01,
        "warmup_steps": 2,
    },
}
CONFIG = {
    "trainer": {"accelerator": "cpu", "max_epochs": 3, "log_every_n_steps": 2},
    "model": MODEL,
    "data": {"class_path": "tests.training.synthetic.Tones"},
    "run": {"examples": 2, "examples_every": 2},
}


OWN = ["tests"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; what Weights & Biases gets of one is in test_tracking.py."""
    folder = tmp_path_factory.mktemp("runs") / "tones"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert train(CONFIG, folder) == 0
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_metrics_are_all_there(run: Path) -> None:
    train_rows = [row for row in rows(run) if row["train/loss"]]
    assert [int(row["step"]) for row in train_rows] == list(range(1, 24, 2))
    for name in ("train/grad_norm", "train/lr", "speed/audio_seconds_per_second"):
        assert all(float(row[name]) > 0 for row in train_rows), name
    assert all(0 <= float(row["speed/waiting_share"]) <= 1 for row in train_rows)
    valid = [row for row in rows(run) if row["valid/loss"]]
    assert [int(row["step"]) for row in valid] == [7, 15, 23]
    improvement = [float(row["valid/si_sdr_improvement"]) for row in valid]
    assert improvement[-1] > 1.0, "three epochs must beat the noisy input by more than 1 dB"


def test_configuration_rebuilds_the_module(run: Path) -> None:
    saved = yaml.safe_load((run / "config.yaml").read_text())
    module = build_module(saved["model"])
    assert module.ema_decay == 0.8
    assert module.loss.threshold_db == 30.0
    assert saved["trainer"]["max_epochs"] == 3


def test_what_a_checkpoint_names_is_not_imported_unless_allowed(run: Path) -> None:
    for load in (load_run, lambda run: load_module(run / "checkpoints" / "best.ckpt")):
        with pytest.raises(RasedError, match=r"TinyMask' is not a class .* --allow tests"):
            load(run)


@pytest.mark.parametrize("name", ["best", "last"])
def test_checkpoint_is_plain_data_and_loads_by_weights_only(run: Path, name: str) -> None:
    path = run / "checkpoints" / f"{name}.ckpt"
    content = torch.load(path, weights_only=True)
    module = load_module(path, allow=OWN)
    again = module.state_dict()
    assert content["state_dict"].keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in content["state_dict"].items())
    assert content["hyper_parameters"]["enhancer"] == {
        "class_path": "tests.training.synthetic.TinyMask",
        "init_args": module.hparams["enhancer"]["init_args"],
    }


def test_load_run_gives_the_average_weights(run: Path) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    loaded = load_run(run, "last", allow=OWN)
    assert not loaded.training
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, content[f"average.{key}"])
        assert not torch.equal(value, content[f"enhancer.{key}"])


def test_examples_are_what_the_average_gives(run: Path) -> None:
    """The validation of the last epoch was by the weights that last.ckpt holds."""
    noisy = mixture(4, 2000, seed=100)["noisy"][:2]
    with torch.no_grad():
        expected = load_run(run, "last", allow=OWN)(noisy)
    for item in range(2):
        heard, rate = soundfile.read(run / "audio" / f"{item}-epoch-0003.wav", dtype="float32")
        assert rate == 16_000
        torch.testing.assert_close(torch.from_numpy(heard), expected[item], rtol=0, atol=1e-6)
        source, _ = soundfile.read(run / "audio" / f"{item}-noisy.wav", dtype="float32")
        torch.testing.assert_close(torch.from_numpy(source), noisy[item], rtol=0, atol=1e-6)
    figures = sorted(path.name for path in (run / "figures").iterdir())
    assert figures == [f"{item}-epoch-000{epoch}.png" for item in range(2) for epoch in (1, 3)]


def test_a_rerun_of_a_finished_run_changes_nothing(run: Path) -> None:
    before = [row for row in rows(run)]
    os.environ["WANDB_MODE"] = "disabled"
    try:
        assert main(["--resume", str(run)]) == 0
    finally:
        del os.environ["WANDB_MODE"]
    assert rows(run) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to train"),
        (["-c", "model/gru-msak"], "'model/gru-mask'"),
        (["-c", "model/gru-mask"], "no section 'data'"),
        (["-c", "data/bundle"], "no section 'model'"),
        (
            ["-c", "model/gru-mask", "-c", "data/bundle", "--modle.lr", "1"],
            "unknown section 'modle'.*'model'",
        ),
        (["-c", "model/gru-mask", "-c", "data/bundle", "--model.lrr", "1"], "'lrr'.*'lr'"),
        (
            ["-c", "model/gru-mask", "-c", "data/bundle", "--trainer.max_epoch", "{}"],
            "'max_epoch'.*'max_epochs'",
        ),
        (["-c", "model/gru-mask", "-c", "data/bundle", "--data.batchsize={}"], "'batch_size'"),
        (["-c", "model/gru-mask", "-c", "data/bundle", "--run.patince={}"], "'patience'"),
        (
            ["-c", "model/gru-mask", "-c", "data/bundle", "--model.enhancer.target", "ratio"],
            r"^model\.enhancer\.target is 'ratio'; .* one of .*'ratio_mask'",
        ),
        (
            ["-c", "model/gru-mask", "-c", "data/bundle", "--model.lr", "fast"],
            r"^model\.lr is 'fast'; it must be a number\.$",
        ),
        (["-c", "model/gru-mask", "-c", "data/bundle", "--model.lr"], "needs a value"),
        (["-c", "model/gru-mask", "-c", "data/bundle", "epochs"], "unknown argument 'epochs'"),
        (["--resume", "nowhere"], "the run 'nowhere' does not exist"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(RasedError, match=message):
        main([*words, "--runs", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_is_not_overwritten(run: Path) -> None:
    folder = ["--runs", str(run.parent), "--name", run.name]
    with pytest.raises(RasedError, match="--resume"):
        main(["-c", "model/gru-mask", "-c", "data/bundle", *folder])


def test_print_config_shows_the_merged_files(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-c", "model/gru-mask", "-c", "data/bundle", "--model.lr", "0.5"]
    assert main([*words, "--model.enhancer.network.hidden=32", "--print-config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["init_args"]["lr"] == 0.5
    network = shown["model"]["init_args"]["enhancer"]["init_args"]["network"]
    assert network["init_args"]["hidden"] == 32
    assert shown["trainer"]["gradient_clip_val"] == 5.0


def stopped(words: list[str], folder: Path, steps: int, number: int) -> str:
    """Train, and send the signal when so many steps are in metrics.csv; return what was said."""
    log = folder.parent.parent / f"said-{steps}.txt"
    process = started(["train", "--runs", str(folder.parent), *words], log)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.is_alive():
        if (folder / "metrics.csv").exists() and len(rows(folder)) > steps:
            break
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, number)
    status, said = ended(process), log.read_text()
    assert status == 128 + number, said
    return said


def test_signals_save_and_say_how_to_resume(tmp_path: Path) -> None:
    """SIGTERM to a run, Ctrl-C to its continuation, and then to the end."""
    config = tmp_path / "config.yaml"
    endless = {
        **CONFIG,
        "trainer": {"accelerator": "cpu", "max_epochs": 10**6, "log_every_n_steps": 1},
    }
    config.write_text(yaml.safe_dump(endless))
    folder = tmp_path / "runs" / "endless"
    said = stopped(["-c", str(config), "--name", "endless"], folder, 10, signal.SIGTERM)
    assert f"rased train --resume {folder}" in said
    assert "Traceback" not in said
    first = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert max(int(row["step"]) for row in rows(folder)) == first - 1
    said = stopped(["--resume", "endless"], folder, len(rows(folder)) + 10, signal.SIGINT)
    assert f"rased train --resume {folder}" in said
    second = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert second > first
    steps = [int(row["step"]) for row in rows(folder) if row["train/loss"]]
    assert steps == list(range(second))


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)

    def full(content: Any, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RasedError, match="No space left on device"):
        WholeCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_worker_that_dies_while_a_checkpoint_is_written_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr("rased.training.resume.torch.save", save)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        WholeCheckpoints().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_metrics_of_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    log = MetricsCSV(tmp_path)
    for step in range(4):
        log.log_metrics({"loss": step / 10}, step)
    log.log_metrics({"valid": 1.0}, 3)
    again = MetricsCSV(tmp_path, steps=2)
    again.log_metrics({"loss": 0.7, "new": 5.0}, 2)
    assert [(row["step"], row["loss"], row["new"]) for row in rows(tmp_path)] == [
        ("0", "0.0", ""),
        ("1", "0.1", ""),
        ("2", "0.7", "5.0"),
    ]


@pytest.mark.parametrize(
    ("trainer", "extra"),
    [
        ({"precision": "bf16-mixed", "max_epochs": 1}, {}),
        ({"max_epochs": 40, "accumulate_grad_batches": 4}, {"run": {"patience": 1, "examples": 0}}),
    ],
    ids=["bf16", "early_stopping"],
)
def test_other_ways_to_train(
    trainer: dict[str, Any], extra: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    flat = {**MODEL, "init_args": {**MODEL["init_args"], "lr": 0.0 if extra else 0.01}}
    config = {
        **CONFIG,
        "model": flat,
        "trainer": {**CONFIG["trainer"], **trainer},
        "run": {"examples": 0},
        **extra,
    }
    assert train(config, tmp_path / "run") == 0
    logged = rows(tmp_path / "run")
    valid = [float(row["valid/si_sdr_improvement"]) for row in logged if row["valid/loss"]]
    if extra:
        assert len(valid) == 2, "nothing is learnt at lr 0: the second validation is the last"
    else:
        assert valid[-1] > 0.1

"""Who started a training, who writes its run, and when a repeated command continues it; templates and jobs of Slurm."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from rased import yaml_reader
from rased.cli import train
from rased.cli.slurm import Job, submit
from rased.errors import RasedError
from rased.training.checks import check_same, check_trainer
from rased.training.cluster import cluster, rank
from rased.training.folder import hold
from rased.training.resume import KeepLast, rank_lost
from rased.training.sharded import refuse
from rased.training.stopping import Signals
from rased.training.waveform import WaveformEnhancement
from tests.training.synthetic import Adversarial, TinyMask, TinyWaveform

TEMPLATE = Path(__file__).parents[2] / "configs" / "trainer" / "slurm.sbatch"
TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "7", "LOCAL_RANK": "1"},
    **{"LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2"},
}
SLURM = {
    **{"SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3", "SLURM_NNODES": "2", "SLURM_PROCID": "4"},
    **{"SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7"},
}
ALONE = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"}
WORDS = ["-c", "model/gru-mask", "-c", "data/bundle", "-c", "trainer/cpu", "--print-config"]


@pytest.fixture(autouse=True)
def _launched_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*TORCHRUN, *SLURM, "NODE_RANK", "JSM_NAMESPACE_RANK"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0)


def launched(monkeypatch: pytest.MonkeyPatch, *variables: dict[str, str]) -> None:
    for name, value in (item for some in variables for item in some.items()):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "number", "layout"),
    [
        ({}, 0, None),
        (TORCHRUN, 5, (4, 2, 7)),
        (SLURM, 4, (3, 2, 6)),
        ({**SLURM, **TORCHRUN}, 5, (4, 2, 7)),  # torchrun inside a job
        (ALONE, 0, (1, 1, 1)),
        ({**SLURM, "SLURM_JOB_NAME": "interactive"}, 0, None),
        ({"NODE_RANK": "3"}, 3, None),
        ({"NODE_RANK": "0"}, 0, None),
        ({"RANK": "2", "WORLD_SIZE": "4"}, 2, None),  # Kubeflow
        ({"JSM_NAMESPACE_RANK": "6"}, 6, None),  # LSF
    ],
)
def test_one_process_writes_and_the_launcher_decides_the_layout(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    number: int,
    layout: tuple[int, int, int] | None,
) -> None:
    launched(monkeypatch, variables)
    assert rank() == number
    assert rank_zero_only.rank == number
    found = cluster()
    assert (found is None) == (layout is None)
    if found is not None:
        found.environment.validate_settings(found.devices, found.nodes)
        assert (found.devices, found.nodes, found.environment.world_size()) == layout


@pytest.mark.parametrize(
    "variables", [TORCHRUN, SLURM, {"NODE_RANK": "1"}, {**TORCHRUN, "RANK": "0"}]
)
def test_several_processes_need_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str]
) -> None:
    launched(monkeypatch, variables)
    with pytest.raises(RasedError, match="--name"):
        train.main([*WORDS[:-1], "--runs", str(tmp_path)])
    assert not [*tmp_path.iterdir()]


def test_the_same_settings_continue_a_run_and_others_do_not(tmp_path: Path) -> None:
    config = {
        "trainer": {"devices": 2, "max_steps": 5, "betas": (0.9, 0.99)},
        "model": {"lr": 1e-3},
    }
    check_same(tmp_path, config)  # it has not begun
    (tmp_path / "config.yaml").write_text(yaml_reader.dump(config))
    check_same(tmp_path, config)
    check_same(tmp_path, {**config, "trainer": {**config["trainer"], "devices": 7, "num_nodes": 3}})
    for changed in ({**config, "model": {"lr": 1e-4}}, {"trainer": config["trainer"]}):
        with pytest.raises(RasedError, match=r"model\.lr.*--resume"):
            check_same(tmp_path, changed)


def test_a_restart_waits_for_the_process_before_it(tmp_path: Path) -> None:
    ending = threading.Event()

    def before() -> None:
        with hold(tmp_path / "run"):
            ready.set()
            ending.wait(60)

    ready = threading.Event()
    thread = threading.Thread(target=before)
    thread.start()
    ready.wait(60)
    with pytest.raises(RasedError, match="is being trained now"), hold(tmp_path / "run"):
        pass
    threading.Timer(0.3, ending.set).start()
    with hold(tmp_path / "run", patience=60.0):
        assert ending.is_set()
    thread.join()


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2", "SIGTERM"])
def test_signals_of_schedulers_ask_to_stop(name: str) -> None:
    number = getattr(signal, name)
    signals = Signals(lambda: False, lambda: 0)
    signals.listen()
    try:
        os.kill(os.getpid(), number)
        assert signals.number == number
    finally:
        signals.restore()


def test_ranks_that_see_other_checkpoints_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def gather(found: list[int], own: int) -> None:
        found[:] = [own, 40, own]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(pl.Trainer, "world_size", 3)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module = WaveformEnhancement(TinyWaveform())
    for steps, refused in ((40, False), (0, True)):
        last = KeepLast(tmp_path, steps=steps)
        if not refused:
            last.setup(trainer, module, "fit")
            continue
        with pytest.raises(RasedError, match=r"steps 0, 40.*all nodes share"):
            last.setup(trainer, module, "fit")


def test_a_lost_rank_is_told_from_other_errors() -> None:
    gloo = RuntimeError(
        "[third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"
    )
    assert rank_lost(gloo)
    assert rank_lost(torch.distributed.DistNetworkError("timed out"))
    assert not rank_lost(RuntimeError("CUDA out of memory"))


def test_what_cannot_be_divided_is_refused() -> None:
    refuse(WaveformEnhancement(TinyWaveform()), "bf16-mixed")
    with pytest.raises(RasedError, match=r"2 networks in turn.*trainer/ddp"):
        refuse(Adversarial(TinyMask()), "32-true")
    with pytest.raises(RasedError, match="16-mixed"):
        refuse(WaveformEnhancement(TinyWaveform()), "16-mixed")


@pytest.mark.parametrize(
    "strategy",
    [
        "fsdp",
        "fsdp_cpu_offload",
        "deepspeed_stage_2",
        {"class_path": "pytorch_lightning.strategies.FSDPStrategy"},
    ],
)
def test_other_ways_to_divide_are_refused(strategy: object) -> None:
    with pytest.raises(RasedError, match="trainer/fsdp"):
        check_trainer({"max_steps": 1, "strategy": strategy})
    check_trainer({"max_steps": 1, "strategy": "ddp"})


def test_the_job_script_starts_srun_and_queues_itself_again(tmp_path: Path) -> None:
    for name, text in {
        "srun": 'echo "srun $*" >> "$OUT"; exit "$CODE"',
        "scontrol": 'echo "scontrol $*" >> "$OUT"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for code, queued in ((0, False), (1, False), (138, True)):
        out = tmp_path / f"out-{code}"
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "OUT": str(out),
            "CODE": str(code),
        }
        done = subprocess.run(
            ["bash", str(TEMPLATE), "-c", "my model.yaml", "--name", "mine"],
            env={**environment, "SLURM_JOB_ID": "7"},
            check=False,
        )
        assert done.returncode == code
        started = "srun --kill-on-bad-exit=1 rased train -c my model.yaml --name mine"
        assert out.read_text().splitlines() == [started, *["scontrol requeue 7"] * queued]


def test_an_impossible_job_is_refused_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    for settings, reason in (
        (["nodes"], "KEY=VALUE"),
        (["nodse=2"], "cannot be queued"),
        (["nodes=2", "cluster=mars"], "cannot be queued"),
        (["nodes=2"], "cannot be queued"),  # there is no Slurm here
    ):
        with pytest.raises(RasedError, match=reason) as told:
            submit(["train"], settings, tmp_path / "run")
        assert "\n" not in str(told.value)


def test_a_job_that_is_stopped_hands_the_signal_on(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: came.append(number))
    try:
        for code, queued in ((0, 0), (128 + signal.SIGUSR2, 1)):
            monkeypatch.setattr("rased.cli.main", lambda words, code=code: code)
            Job(["train"])()
            assert len(came) == queued
        monkeypatch.setattr("rased.cli.main", lambda words: 2)
        with pytest.raises(SystemExit) as ended:
            Job(["train"])()
        assert ended.value.code == 2
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_the_configurations_are_accepted(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert train.main([*WORDS, "-c", f"trainer/{name}"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    check_trainer(config["trainer"])
    assert config["trainer"]["strategy"]["init_args"]["timeout"] == "0:10:00"

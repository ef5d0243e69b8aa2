"""Each extra is enough for what it promises, and what is missing is named by its extra."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rased.cli import main
from rased.extras import install_command

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    "einops": "einops",
    "jsonargparse": "jsonargparse",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "pytorch-lightning": "pytorch_lightning",
    "nara-wpe": "nara_wpe",
}
"""Modules of projects whose names differ, as far as they are declared; others are imported by their name."""

RUN_WITHOUT = """
import importlib.metadata
import sys
from importlib.machinery import PathFinder

MISSING = set(sys.argv[1].split(","))
version = importlib.metadata.version

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            return None
        return super().find_spec(name, path, target)

def known_version(name):
    if name.replace("-", "_") in MISSING:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
importlib.metadata.version = known_version
from rased.cli import main
sys.exit(main(sys.argv[2:]))
"""


def projects(extra):
    """The projects of an extra, and of the extras in it."""
    lines = PROJECT["dependencies"] if extra == "" else PROJECT["optional-dependencies"][extra]
    found = set()
    for line in lines:
        parts = re.match(r"rased\[(.*)\]", line)
        if parts:
            found |= set().union(*(projects(part) for part in parts[1].split(",")))
        else:
            found.add(re.match(r"[\w.-]+", line)[0].lower())
    return found


def run_without(missing, words, folder, *, code=RUN_WITHOUT):
    """The command line in a fresh process in which these modules cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", code, ",".join(missing), *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WANDB_MODE": "disabled",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def with_needs(names):
    """These projects and all that they need themselves, as far as it is installed here."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        needed = {
            re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
            for line in requirements
            if "extra ==" not in line
        }
        waiting |= needed - found
    return found


def missing_with(*extras):
    """Modules that an installation with these extras lacks of all that rased names."""
    there = with_needs(set().union(*(projects(extra) for extra in ("", *extras))))
    everything = set().union(
        *(projects(extra) for extra in PROJECT["optional-dependencies"] if extra != "dev")
    )
    return {MODULES.get(name, name.replace("-", "_")) for name in everything - there}


@pytest.fixture
def folder(tmp_path):
    """A recording, and a test set of two pairs in a plain folder."""
    rng = np.random.default_rng(1)
    for part in ("noisy", "clean"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for name in ("one", "two"):
        clean = 0.1 * rng.standard_normal(16_000)
        soundfile.write(tmp_path / "set/clean" / f"{name}.wav", clean, 16_000)
        soundfile.write(
            tmp_path / "set/noisy" / f"{name}.wav",
            clean + 0.05 * rng.standard_normal(16_000),
            16_000,
        )
    soundfile.write(tmp_path / "in.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    return tmp_path


def test_the_extra_torch_enhances(folder):
    words = ["enhance", "in.wav", "-o", "out.wav", "--model", "gru-mask-16k"]
    done = run_without(missing_with("torch"), words, folder)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(folder / "out.wav").frames == 16_000


def test_the_extra_onnx_enhances(folder):
    code = RUN_WITHOUT.replace("from rased.cli import main", "from rased.onnx.__main__ import main")
    done = run_without(missing_with("onnx"), ["in.wav", "out.wav"], folder, code=code)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(folder / "out.wav").frames == 16_000


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["enhance", "in.wav"], "pip install 'rased[torch]'"),
        (["zoo", "list"], "pip install 'rased[torch]'"),
        (["models"], "pip install 'rased[torch]'"),
        (["app"], "pip install 'rased[torch]'"),
        (["export", "NAME", "--to", "onnx", "--out", "out"], "pip install 'rased[export]'"),
    ],
)
def test_a_plain_installation_says_what_runs_models(folder, words, command):
    done = run_without(missing_with(), words, folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert command in done.stderr


PACK = ["data", "pack", "set/clean", "--role", "speech", "--out", "shards", "--engine", "ray"]


def test_a_cluster_needs_the_extra_ray(folder):
    done = run_without(missing_with("torch"), PACK, folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "pip install 'rased[ray]'" in done.stderr


@pytest.mark.slow
def test_the_extra_ray_packs(folder):
    done = run_without(missing_with("ray"), [*PACK, "--jobs", "2"], folder)
    assert done.returncode == 0, done.stderr
    assert [*(folder / "shards").glob("*.tar")]


@pytest.mark.slow
def test_the_extra_torch_opens_the_page(folder):
    """With everything in place, there is no port -1."""
    done = run_without(missing_with("torch"), ["app", "--port", "-1"], folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "choose another with --port" in done.stderr


@pytest.mark.slow
def test_the_extra_train_trains_and_scores_what_it_trained(folder):
    words = [
        "train",
        "-c",
        "model/gru-mask",
        "-c",
        "data/bundle",
        "--trainer.max_steps",
        "1",
        "--name",
        "mine",
    ]
    small = [
        "--trainer.limit_val_batches",
        "1",
        "--data.batch_size",
        "2",
        "--data.scene.segment",
        "1.0",
    ]
    closing = [
        "--run.evaluate",
        "[set]",
        "--run.metrics",
        "[si-sdr]",
        "--trainer.accelerator",
        "cpu",
    ]
    done = run_without(missing_with("train"), [*words, *small, *closing], folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs/mine/zoo/mine/card.yaml").is_file()
    assert list((folder / "runs/mine/results").glob("*.json"))


@pytest.mark.slow
def test_the_extra_eval_scores(folder):
    words = [
        "evaluate",
        "noisy",
        "log-mmse",
        "--on",
        "set",
        "--out",
        "results",
        "--metrics",
        "pesq-wb",
        "si-sdr",
    ]
    done = run_without(missing_with("eval"), words, folder)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "results/log-mmse--set.json").read_text())
    assert "pesq-wb" in json.dumps(result)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["train", "-c", "model/gru-mask", "-c", "data/bundle"], "pip install 'rased[train]'"),
        (["evaluate", "noisy", "--on", "set", "--out", "results"], "pip install 'rased[eval]'"),
        (
            ["data", "rooms", "--out", "rooms", "--count", "1", "--seed", "1"],
            "pip install 'rased[rooms]'",
        ),
    ],
)
def test_a_verb_without_its_extra_names_it(folder, words, command):
    done = run_without(missing_with("torch"), words, folder)
    if done.returncode == 0:  # evaluate measures what it can, and says so beside the rest
        assert command in done.stdout + done.stderr
        return
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert command in done.stderr


@pytest.mark.parametrize(
    ("modules", "prefer", "command"),
    [
        (("h5py",), "", "pip install 'rased[train]'"),
        (("scipy",), "eval", "pip install 'rased[eval]'"),
        (("nara_wpe", "pesq"), "", "pip install 'rased[eval]'"),
        (("PIL.Image",), "", "pip install 'rased[eval]'"),
        (("pyroomacoustics",), "eval", "pip install 'rased[rooms]'"),
        (("s3fs", "aiohttp"), "", "pip install 'rased[remote]'"),
        (("soxr",), "", "pip install --force-reinstall rased"),
        (("torch",), "", "pip install 'rased[torch]'"),
        (("torch",), "train", "pip install 'rased[train]'"),
        (("onnxruntime",), "", "pip install 'rased[onnx]'"),
        (("onnxscript",), "", "pip install 'rased[export]'"),
        (("my_own_networks",), "", ""),
    ],
)
def test_what_brings_a_package(modules, prefer, command):
    assert install_command(*modules, prefer=prefer) == command


def test_a_module_that_is_not_ours_is_not_called_a_package(capsys, monkeypatch):
    def fail(arguments):
        raise ModuleNotFoundError("no", name="my_own_networks.blocks")

    monkeypatch.setattr("rased.cli.zoo.run", fail)
    assert main(["zoo", "list"]) == 2
    said = capsys.readouterr().err
    assert "the Python module 'my_own_networks.blocks' cannot be found" in said
    assert "pip install" not in said

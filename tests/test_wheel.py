"""The wheel, installed away from the checkout, holds the configurations, the zoo and the bundled corpus."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import rased

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the unpacked wheel, and one to work in."""
    here = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(here)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(here.glob("rased-*.whl"))) as wheel:
        wheel.extractall(here / "site")
    (here / "work").mkdir()
    return here


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "zoo list",
        "zoo verify",
        "models",
        "data info bundle",
        "enhance in.wav -o out.wav --model gru-mask-16k",
        "train -c model/gru-mask -c data/bundle --print-config",
        "train -c model/gru-mask -c data/bundle --trainer.max_steps 1 --trainer.limit_val_batches 1 "
        "--trainer.accelerator cpu --data.batch_size 2 --run.evaluate []",
    ],
)
def test_a_wheel_works_away_from_the_checkout(installed, words):
    soundfile.write(installed / "work/in.wav", np.zeros(8_000), 16_000)
    code = (
        "import sys, rased; assert 'site' in rased.__file__, rased.__file__;"
        "from rased.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        cwd=installed / "work",
        env={**os.environ, "PYTHONPATH": str(installed / "site"), "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_holds_what_git_holds(installed):
    """Everything below rased/, configs/ and zoo/ that is tracked is in it, and nothing that is ignored."""
    tracked = subprocess.run(
        ["git", "ls-files", "rased", "configs", "zoo"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    places = {"configs": "rased/assets/configs", "zoo": "rased/assets/zoo"}
    expected = set()
    for name in tracked:
        top, _, rest = name.partition("/")
        expected.add(f"{places.get(top, top)}/{rest}")
    site = installed / "site"
    found = {
        path.relative_to(site).as_posix() for path in (site / "rased").rglob("*") if path.is_file()
    }
    assert {name for name in found if "__pycache__" not in name} == expected


@pytest.mark.slow
def test_pip_installs_the_command_and_the_types(installed, tmp_path):
    """In an empty folder, without the dependencies, which are those of this environment."""
    (wheel,) = installed.glob("rased-*.whl")
    words = [
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        str(wheel),
    ]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    assert (tmp_path / "rased/py.typed").is_file()
    done = subprocess.run(
        [sys.executable, str(tmp_path / "bin/rased"), "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"rased {rased.__version__}\n", done.stderr


@pytest.mark.slow
def test_the_source_archive_builds_the_same_wheel(installed, tmp_path):
    """It holds what git holds, and its wheel is the wheel of the checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t"]
    subprocess.run(
        [*command, "sdist", "-d", str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    with tarfile.open(next(tmp_path.glob("rased-*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    tracked = subprocess.run(
        git, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    packed = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert packed - {"PKG-INFO"} <= set(tracked)
    assert {
        "LICENSE",
        "README.md",
        "configs/model/gtcrn.yaml",
        "docs/start.md",
        "tests/test_wheel.py",
    } <= packed
    subprocess.run(
        [*command, "wheel", "-d", str(tmp_path)], cwd=source, check=True, capture_output=True
    )
    assert _names(next(tmp_path.glob("*.whl"))) == _names(next(installed.glob("*.whl")))


def _names(wheel):
    with zipfile.ZipFile(wheel) as opened:
        return sorted(name for name in opened.namelist() if "__pycache__" not in name)

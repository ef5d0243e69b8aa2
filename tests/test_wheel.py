"""The wheel, installed away from the checkout, holds the configurations, the zoo and the bundled corpus."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

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

"""One file and one YAML outside the package: trained for a step, published, and loaded by who trusts it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rased
from rased.cli import main
from rased.errors import RasedError
from rased.zoo import resolve
from rased.zoo.runs import load_run
from tests.forks import ended, started

MODEL = """
import torch
from rased.models.base import Enhancer, Prediction


class Gain(Enhancer):
    \"\"\"One gain for all.\"\"\"

    paper = "mine"

    def __init__(self, start: float = 0.5) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor([start]))

    def predict(self, noisy):
        return Prediction(self.gain * noisy)
"""

YAML = """
model:
  class_path: rased.training.waveform.WaveformEnhancement
  init_args:
    enhancer: {class_path: my_package.nets.Gain, init_args: {start: 0.25}}
    loss: {class_path: rased.losses.waveform.L1}
data:
  class_path: rased.data.datamodule.MixtureDataModule
  init_args:
    speech: [bundle]
    noise: [bundle]
    batch_size: 2
    num_workers: 0
    scene: {segment: 1.0}
trainer: {max_steps: 1, max_epochs: 1, limit_val_batches: 1, accelerator: cpu}
run: {examples: 0, evaluate: []}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with my_package, mine.yaml and what `rased train` made of them there."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "nets.py").write_text(MODEL)
    (folder / "mine.yaml").write_text(YAML)
    words = ["train", "-c", "mine.yaml", "--name", "own"]
    process = started(words, folder / "said.txt", folder=folder)
    assert ended(process) == 0, (folder / "said.txt").read_text()[-2000:]
    return folder


@pytest.fixture
def stranger(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, seen from a process that has not imported the package yet."""
    monkeypatch.chdir(trained)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(trained))])
    return trained


PLACES = ["runs/own", "runs/own/zoo/own", "runs/own/zoo/own/card.yaml"]


@pytest.mark.parametrize("place", PLACES)
def test_a_stranger_s_class_is_not_imported(stranger: Path, place: str) -> None:
    with pytest.raises(RasedError, match=r"allow=\['my_package'\]"):
        rased.load(place)
    with pytest.raises(RasedError, match=r"allow=\['my_package'\]"):
        rased.load(place, allow=["my"])
    assert "my_package" not in sys.modules


@pytest.mark.parametrize("place", PLACES)
def test_who_trusts_the_package_loads_it(stranger: Path, place: str) -> None:
    enhancer = rased.load(place, allow=["my_package"])
    noisy = torch.ones(1, 8)
    assert type(enhancer).__name__ == "Gain"
    torch.testing.assert_close(enhancer(noisy), float(enhancer.gain.detach()) * noisy)


def test_the_command_line_takes_allow(
    stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np
    import soundfile

    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, np.full(8000, 0.5), 16_000)
    words = ["enhance", str(source), "-o", str(target), "--model", "runs/own/zoo/own"]
    assert main(words) == 2
    assert "--allow my_package" in capsys.readouterr().err
    assert main([*words, "--allow", "my_package"]) == 0
    assert 0 < abs(soundfile.read(target)[0]).max() < 0.5
    assert main(["zoo", "verify", "runs/own/zoo/own"]) == 1
    assert main(["zoo", "verify", "runs/own/zoo/own", "--allow", "my_package"]) == 0


@pytest.mark.parametrize("place", PLACES[:2])
def test_training_starts_from_it_where_it_is_allowed(
    stranger: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    words = ["train", "--from", place, "-c", "data/bundle", "--print-config"]
    assert main(words) == 2
    assert "--allow my_package" in capsys.readouterr().err
    assert main([*words, "--allow", "my_package"]) == 0
    assert "class_path: my_package.nets.Gain" in capsys.readouterr().out


def test_one_resolver_for_every_name(stranger: Path, shelf: Path, entry: Path) -> None:
    found = {
        "tiny": "zoo",
        str(entry): "zoo",
        str(entry / "card.yaml"): "zoo",
        f"file://{entry}": "zoo",
        "runs/own": "run",
        "log-mmse": "classical",
        "https://example.org/card.yaml": "url",
    }
    assert {name: resolve(name).kind for name in found} == found
    assert rased.load("log-mmse").sample_rate == 16_000
    assert rased.load(entry).card is not None
    for wrong, said in {
        "tinny": "did you mean 'tiny'",
        "log-mse": "did you mean 'log-mmse'",
        "runs": "has neither card.yaml",
        "no/such/folder": "there is no folder 'no/such/folder'",
        "mine.yaml": "is a file",
        "a\0b": "there is no checkpoint",
        "x" * 5000: "there is no checkpoint",
        "": "there is no checkpoint|has neither",
    }.items():
        with pytest.raises(RasedError, match=said):
            rased.load(wrong)


def test_a_run_loads_without_lightning(stranger: Path) -> None:
    code = (
        "import sys, rased; rased.load('runs/own', allow=['my_package'])\n"
        "print(*sorted({'pytorch_lightning', 'wandb', 'webdataset'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert load_run("runs/own", allow=["my_package"]).sample_rate == 16_000

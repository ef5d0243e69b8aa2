"""A mapping learns from a file of frames what it would learn from the mixtures in it."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rased.building import build
from rased.cli.train import train
from rased.config import merge
from rased.data.frames.datamodule import FramesDataModule
from rased.data.frames.file import FrameFile, Framing
from rased.data.frames.sources import MixtureRecipe, Mixtures
from rased.data.frames.writer import write_frames
from rased.data.mixtures.mixing import Mixer
from rased.data.mixtures.plan import Scene
from rased.data.mixtures.stream import stream
from rased.errors import RasedError
from rased.layers.frontend import Features, Moments
from rased.models.base import Enhancer
from rased.signal.stft import STFT
from rased.zoo.runs import load_run
from tests.data.conftest import RATE, corpora  # noqa: F401

pytestmark = pytest.mark.usefixtures("unpublished")

ROOT = Path(__file__).parents[2]
RECIPE: dict[str, Any] = {"scene": Scene(segment=1.0, snr_db=(0.0, 5.0)), "seed": 3}
ENHANCER = {
    "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
    "init_args": {
        "features": {"kinds": ["log_mel", "log_power"]},
        "inputs": {"past_frames": 2, "future_frames": 1, "noise": "static"},
        "network": {
            "class_path": "rased.models.dnn.DNN",
            "init_args": {"hidden": 32, "layers": 1, "dropout": 0.0},
        },
        "target": "log_power",
        "stft": {"n_fft": 256, "hop_length": 128, "win_length": 256},
    },
}


@pytest.fixture(scope="module")
def config(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:  # noqa: F811
    """A run on a file of 60 mixtures of a second."""
    folders = {role: (str(corpora),) for role in ("speech", "noise", "rir")}
    recipe = MixtureRecipe(**folders, **RECIPE)
    out = tmp_path_factory.mktemp("frames") / "frames.h5"
    framing = Framing(Features(("log_mel", "log_power")), STFT(256, 128, 256), RATE)
    write_frames(Mixtures(recipe.plan(), recipe.mixing, 60), framing, out)
    return {
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": -1,
            "max_steps": 60,
            "log_every_n_steps": 5,
        },
        "model": {
            "class_path": "rased.training.mapping.MappingEnhancement",
            "init_args": {"enhancer": ENHANCER, "lr": 0.003, "warmup_steps": 0, "final_lr": 1.0},
        },
        "data": {
            "class_path": "rased.data.frames.datamodule.FramesDataModule",
            "init_args": {
                "file": str(out),
                **{role: [str(corpora)] for role in folders},
                "scene": {"segment": 1.0, "snr_db": [0, 5]},
                "seed": 3,
                "batch_size": 128,
                "validation_samples": 2,
            },
        },
        "run": {"examples": 0},
    }


def rows(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("noise", ["none", "static"])
def test_frames_give_what_the_mixture_gives(
    config: dict[str, Any], residual: bool, noise: str
) -> None:
    spec = merge(
        ENHANCER,
        {"init_args": {"residual": residual, "inputs": {"noise": noise, "noise_frames": 3}}},
    )
    enhancer = build(Enhancer, spec).eval()
    data = FramesDataModule(
        config["data"]["init_args"]["file"],
        **{role: config["data"]["init_args"][role] for role in ("speech", "noise", "rir")},
        **RECIPE,
    )
    file = data.frames
    statistics = file.statistics
    columns = enhancer.features.columns("log_power", enhancer.stft.freq)
    target = statistics["target"]
    target = Moments(target.count, target.mean[columns], target.variance[columns])
    enhancer.set_statistics(of_features=statistics["noisy"], of_targets=target)
    mixture = Mixer(data.mixing)(next(iter(stream(data.plan("train"), epoch=0, batch_size=2))))
    data.show(past=2, future=1, noise_frames=3)
    loader = data._new_loader("train")
    loader.batch_size = loader.plan.count
    batch = next(iter(loader))
    numbers = loader.plan.numbers(0, 0, loader.plan.count).tolist()
    with torch.no_grad():
        output = enhancer.predict_windows(batch["windows"], batch["noise"])[..., 0]
        ideal = enhancer.standardised(enhancer.log_power_of(batch["target"])[..., None])
        prediction = enhancer.predict(mixture["noisy"])
        expected = enhancer.ideal("output", noisy=mixture["noisy"], target=mixture["target"])
    frames = int(file.frames[0])
    for item in range(2):
        for frame in range(frames):
            place = numbers.index(item * frames + frame)
            # the file's log-powers are rounded to 2^-7
            torch.testing.assert_close(
                output[place], prediction.output[item, :, frame], atol=0.01, rtol=0
            )
            torch.testing.assert_close(
                ideal[place, :, 0], expected[item, :, frame], atol=0.01, rtol=0
            )


def test_training_lowers_the_loss_and_the_run_enhances(
    config: dict[str, Any], tmp_path: Path
) -> None:
    assert train(config, tmp_path / "run") == 0
    losses = rows(tmp_path / "run", "train/loss")
    assert losses[-1] < 0.6 * losses[0]
    assert rows(tmp_path / "run", "speed/audio_seconds_per_second")[-1] > 0
    assert rows(tmp_path / "run", "valid/si_sdr_improvement")[-1] > 1.0
    enhancer = load_run(tmp_path / "run", "last")
    file = FrameFile(config["data"]["init_args"]["file"])
    assert torch.equal(enhancer.inputs.mean, file.statistics["noisy"].mean.float())
    assert enhancer(torch.randn(1, 3000)).shape == (1, 3000)


def test_a_run_goes_on_with_the_next_batch(config: dict[str, Any], tmp_path: Path) -> None:
    config = merge(config, {"data": {"init_args": {"frames_per_epoch": 1000}}})  # 8 steps
    for name, stops in {"whole": [12], "parts": [5, 12]}.items():
        for stop in stops:
            assert train(merge(config, {"trainer": {"max_steps": stop}}), tmp_path / name) == 0
    whole, parts = (load_run(tmp_path / name, "last").state_dict() for name in ("whole", "parts"))
    for name, values in whole.items():
        assert torch.equal(values, parts[name]), name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"loss": {"class_path": "rased.losses.spectral.CompressedSpectrum"}},
            "compares the spectrum, which a file of frames lacks: add -c loss/output",
        ),
        (
            {"enhancer": {"init_args": {"stft": {"hop_length": 64}}}},
            "the stft of the model and of",
        ),
        (
            {"enhancer": {"init_args": {"inputs": {"noise": "dynamic"}}}},
            "training on single frames needs a network without memory",
        ),
        (
            {"enhancer": {"init_args": {"network": {"class_path": "rased.models.lstm.LSTM"}}}},
            "training on single frames needs a network without memory",
        ),
        (
            {"enhancer": {"init_args": {"target": "magnitude"}}},
            "does not map frames to log-power",
        ),
    ],
)
def test_what_frames_cannot_teach_is_one_sentence(
    config: dict[str, Any], tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    changed = merge(config, {"model": {"init_args": change}})
    with pytest.raises(RasedError, match=sentence):
        train(changed, tmp_path / "run")


@pytest.mark.slow
def test_a_mapping_beats_the_noisy_input_from_frames_of_the_bundle(tmp_path: Path) -> None:
    """SI-SDR over all validation mixtures (noise at 0 to 10 dB), by the average weights."""
    data = yaml.safe_load((ROOT / "configs/data/frames.yaml").read_text())
    scene = {"segment": 4.0, "snr_db": [0, 10], "reverb_probability": 0.0}
    changes = {"file": str(tmp_path / "frames.h5"), "rir": [], "scene": scene, "num_workers": 0}
    data["data"]["init_args"] |= changes
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
    for words in (
        ("data", "frames", "-c", "data.yaml", "--mixtures", "900", "--out", "frames.h5"),
        (
            *("train", "-c", "model/dnn-mapping-small", "-c", "loss/output", "-c", "data.yaml"),
            *("-c", "trainer/cpu", "--trainer.max_epochs", "-1", "--trainer.max_steps", "1500"),
            *("--run.examples", "0", "--run.evaluate", "[]", "--name", "frames"),
        ),
    ):
        subprocess.run(
            [sys.executable, "-m", "rased", *words],
            cwd=tmp_path,
            env={**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
            check=True,
        )
    assert rows(tmp_path / "runs" / "frames", "valid/si_sdr_improvement")[-1] > 1.0

"""Modules made by hand, losses of others, and data of another rate."""

import functools
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from rased.cli.train import train
from rased.construction import Remembered, settings_of, spec_of
from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.plan import Scene
from rased.errors import RasedError
from rased.losses.base import OnWaveforms
from rased.losses.waveform import SNR
from rased.models.conv_tasnet import ConvTasNet
from rased.models.gtcrn import GTCRN
from rased.signal.stft import STFT
from rased.training.base import Enhancement
from rased.training.checkpoint import load_module
from rased.training.complex import ComplexEnhancement
from rased.training.waveform import WaveformEnhancement
from tests.training.synthetic import TinyMask, Tones
from tests.training.test_best import config

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of Lightning, which `rased train` silences
    pytest.mark.filterwarnings("ignore:.isinstance.treespec"),
]
QUICK: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,
}


def saved(module: Enhancement, path: Path, data: pl.LightningDataModule | None = None) -> Path:
    trainer = pl.Trainer(default_root_dir=path.parent, **QUICK)
    trainer.fit(module, datamodule=data or Tones(batches=2, batch_size=2))
    trainer.save_checkpoint(path)
    return path


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(lambda: ComplexEnhancement(GTCRN()), id="gtcrn"),
        pytest.param(
            lambda: WaveformEnhancement(TinyMask(8, stft=STFT(64, 16, 64)), lr=1e-4), id="options"
        ),
        pytest.param(lambda: WaveformEnhancement(TinyMask(), loss=nn.L1Loss()), id="loss of torch"),
        pytest.param(lambda: WaveformEnhancement(TinyMask(), SNR(threshold_db=20.0)), id="loss"),
    ],
)
def test_a_module_made_by_hand_trains_is_saved_and_comes_back(module: Any, tmp_path: Path) -> None:
    made = module()
    path = saved(made, tmp_path / "hand.ckpt")
    again = load_module(path, allow=("tests", "torch"))
    assert type(again) is type(made)
    assert again.optimisation.lr == made.optimisation.lr
    assert repr(again.loss) == repr(made.loss)
    noisy = torch.randn(1, 2000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.eval().average(noisy), made.eval().average(noisy))


def test_the_configuration_of_an_object_builds_it_again() -> None:
    spec = spec_of(ConvTasNet(filters=16, blocks=2, repeats=1, bottleneck=8, hidden=8, skip=8))
    assert spec["class_path"] == "rased.models.conv_tasnet.ConvTasNet"
    assert spec["init_args"]["filters"] == 16
    assert spec_of(OnWaveforms(nn.L1Loss()))["init_args"]["module"]["class_path"].endswith("L1Loss")


class Odd(TinyMask):
    """Takes what no YAML holds."""

    def __init__(self, function: Any):
        super().__init__()


class WithOptions(Remembered):
    def __init__(self, size: int = 1, **options: Any):
        self.size, self.options = size, options


def test_options_by_any_name_are_part_of_a_spec() -> None:
    part = WithOptions(5, slope=3)
    assert spec_of(part)["init_args"] == {"size": 5, "slope": 3}
    assert settings_of(part) == {"WithOptions": {"size": 5, "slope": 3}}
    assert settings_of(WithOptions()) == {"WithOptions": {}}


def test_what_cannot_be_saved_is_refused_before_the_first_step(tmp_path: Path) -> None:
    made = WaveformEnhancement(Odd(lambda x: x))
    with pytest.raises(RasedError, match="the argument function of Odd"):
        pl.Trainer(default_root_dir=tmp_path, **QUICK).fit(made, datamodule=Tones(batches=1))
    assert spec_of(TinyMask(hidden=3))["init_args"] == {"hidden": 3}
    with pytest.raises(RasedError, match="the argument function of Odd cannot be stored"):
        spec_of(Odd(functools.lru_cache))


class Three(nn.Module):
    def forward(self, one: Any, two: Any, three: Any) -> Any:
        return one


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"class_path": "torch.nn.L1Loss", "init_args": {"reduction": "none"}}, "one number"),
        ({"class_path": "tests.training.test_by_hand.Three"}, "the loss Three cannot compare two"),
        ({"class_path": "torch.optim.SGD"}, r"model\.loss|nn\.Module|Module"),
    ],
)
def test_a_loss_that_does_not_fit_is_one_sentence(
    loss: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(RasedError, match=message) as refused:
        train(config(epochs=1, loss=loss), tmp_path / "run")
    assert len(str(refused.value)) < 500
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_loss_of_torch_trains_from_a_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = config(epochs=1, loss={"class_path": "torch.nn.L1Loss"})
    assert train(settings, tmp_path / "run") == 0
    assert isinstance(
        load_module(tmp_path / "run" / "checkpoints" / "last.ckpt", allow=("tests", "torch")).loss,
        OnWaveforms,
    )


def test_data_of_another_rate_are_refused_before_the_first_step(tmp_path: Path) -> None:
    enhancer = GTCRN(sample_rate=48_000)
    module = MixtureDataModule(scene=Scene(segment=0.25), samples_per_epoch=2)
    with pytest.raises(RasedError, match="works at 48000 Hz, but the data have 16000 Hz"):
        pl.Trainer(default_root_dir=tmp_path, **QUICK).fit(ComplexEnhancement(enhancer), module)

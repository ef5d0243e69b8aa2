"""Losses within a training: every configuration of them takes a step, and a wrong sample rate is refused."""

from typing import Any

import pytest
import torch

from rased.config import config_folder, load_yaml
from rased.errors import RasedError
from rased.losses.base import Loss, WeightedSum, total
from rased.losses.feature import FeatureDistance
from rased.losses.intelligibility import STOI
from rased.losses.quality import PMSQE
from rased.training.checkpoint import build_module
from rased.training.mask import MaskEnhancement
from rased.zoo.frozen import Frozen
from tests.losses.examples import CONFIGURED
from tests.training.synthetic import TinyMask, mixture


def story(name: str) -> dict[str, Any]:
    """A training with the loss of a file, and an enhancer with the transform that it expects."""
    loss = load_yaml(config_folder() / "loss" / f"{name}.yaml")["model"]["init_args"]["loss"]
    size = {"n_fft": 400, "hop_length": 100, "win_length": 400, "window": "hann"}
    arguments = {"stft": size} if name == "mp-senet" else {}
    enhancer = {"class_path": "tests.training.synthetic.TinyMask", "init_args": arguments}
    return {
        "class_path": "rased.training.mask.MaskEnhancement",
        "init_args": {"enhancer": enhancer, "loss": loss},
    }


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_configuration_trains(name: str) -> None:
    torch.manual_seed(0)
    module = build_module(story(name))
    batch = mixture(2, 7_000, 0)
    before = total(module.losses(batch, "enhancer"))
    before.backward()
    moved = 0.0
    with torch.no_grad():
        for parameter in module.enhancer.parameters():
            assert parameter.grad.isfinite().all()
            moved += float(parameter.grad.abs().sum())
    assert moved > 0


@pytest.mark.parametrize(
    "loss",
    [
        STOI(8_000),
        WeightedSum([PMSQE(48_000)]),
        FeatureDistance(Frozen("log-mmse")),
    ],
    ids=["stoi", "sum", "feature"],
)
def test_a_loss_at_another_rate_is_refused(loss: Loss) -> None:
    enhancer = TinyMask()
    enhancer.sample_rate = 16_000 if not isinstance(loss, FeatureDistance) else 8_000
    with pytest.raises(RasedError, match=r"is set to \d+ Hz, but TinyMask works at \d+ Hz"):
        MaskEnhancement(enhancer, loss)

"""What a story may replace, and what it is told where it gives something else."""

import csv
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rased.cli.train import train
from rased.errors import RasedError
from rased.models.base import Prediction
from rased.training.waveform import WaveformEnhancement
from tests.training.synthetic import TinyMask, TinyWaveform
from tests.training.test_resume import DATA


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


class Dear(TinyWaveform):
    """Its `predict` is dear, as a sampler's: it must not be called in a validation."""

    def predict(self, noisy: Any) -> Prediction:
        callers = {frame.function for frame in inspect.stack(context=0)}
        assert "validation_step" not in callers
        return super().predict(noisy)


class Cheap(WaveformEnhancement):
    """Validates by the loss of the network alone, one number a row, and by one for the batch."""

    def validate(self, batch: Any) -> dict[str, Tensor]:
        estimate = self.average.network(batch["noisy"][:, None])[:, 0]
        error = (estimate - batch["target"]).abs()
        return {"loss": error.mean(), "worst": error.amax(1)}


class Gives(WaveformEnhancement):
    """Gives what a training cannot use."""

    def __init__(self, enhancer: TinyWaveform, what: str):
        super().__init__(enhancer)
        self.what = what

    def losses(self, batch: Any, player: str) -> dict[str, Any]:
        error = (self.enhancer.predict(batch["noisy"]).estimate - batch["target"]).abs()
        given = {
            "nothing": {},
            "rows": {"error": error.mean(1)},
            "a number": {"error": 0.5},
            "no gradient": {"error": torch.zeros((), requires_grad=True)},
        }
        return given.get(self.what, {"error": error.mean()})

    def validate(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": batch["noisy"].abs()} if self.what == "samples" else super().validate(batch)


def config(kind: type, enhancer: type = TinyWaveform, **model: Any) -> dict[str, Any]:
    spec = {"class_path": f"{enhancer.__module__}.{enhancer.__name__}"}
    path = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
    return {
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1},
        "model": {"class_path": path, "init_args": {"enhancer": spec, **model}},
        "data": DATA,
        "run": {"examples": 0, "evaluate": []},
    }


def columns(run: Path) -> dict[str, list[float]]:
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def test_a_validation_is_what_the_story_says(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(config(Cheap, Dear), run) == 0
    logged = columns(run)
    assert {name for name in logged if name.startswith("valid/")} == {"valid/loss", "valid/worst"}
    assert 0 < logged["valid/loss"][-1] < logged["valid/worst"][-1]
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_a_sum_over_all_domains_trains_and_its_terms_are_logged(tmp_path: Path) -> None:
    spec = {
        "class_path": "rased.losses.WeightedSum",
        "init_args": {
            "losses": [
                {"class_path": "rased.losses.waveform.L1"},
                {"class_path": "rased.losses.spectral.CompressedSpectrum"},
                {"class_path": "rased.losses.mask.OutputMSE"},
            ],
            "weights": [10, 1, 0.5],
            "names": ["wave", "spectrum", "mask"],
        },
    }
    run = tmp_path / "run"
    assert train(config("rased.training.mask.MaskEnhancement", TinyMask, loss=spec), run) == 0
    logged = columns(run)
    for part in ("train", "valid"):
        terms = [logged[f"{part}/loss/{name}"] for name in ("wave", "spectrum", "mask")]
        for whole, *parts in zip(logged[f"{part}/loss"], *terms, strict=True):
            assert whole == pytest.approx(sum(parts), rel=1e-5)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nothing", r"losses\(\) returned nothing for the player 'enhancer'"),
        (
            "rows",
            r"losses\(\) returned \(2,\) as 'error' for the player 'enhancer': return a scalar tensor",
        ),
        ("a number", r"losses\(\) returned float as 'error'"),
        ("no gradient", "does not depend on any parameter of TinyWaveform"),
        ("samples", r"validate\(\) returned the shape \(2, 4000\) for 'loss' in a batch of 2"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(what: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(RasedError, match=sentence):
        train(config(Gives, what=what), tmp_path / "run")


def test_a_validation_interval_longer_than_an_epoch_is_one_sentence(tmp_path: Path) -> None:
    settings = config(WaveformEnhancement)
    settings["trainer"]["val_check_interval"] = 100
    with pytest.raises(RasedError, match=r"the trainer rejects .* `val_check_interval` \(100\)"):
        train(settings, tmp_path / "run")

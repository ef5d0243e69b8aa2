"""Toy models of four channels and of an enrolment train from shards, through the same stories as all others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor, nn

import rased
from rased.cli import main
from rased.cli.replay import replay
from rased.cli.train import train
from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.scene import Scene
from rased.data.preparation.balanced import FrozenRecipe
from rased.data.preparation.freeze import freeze
from rased.data.preparation.pack import pack
from rased.errors import RasedError
from rased.evaluation.scoring import run as scoring
from rased.evaluation.scoring.memory import MemoryOf
from rased.evaluation.testset import read_testset
from rased.models.base import Condition, Enhancer, Prediction
from rased.training.waveform import WaveformEnhancement
from tests.training.synthetic import TinyWaveform
from tests.training.test_by_hand import QUICK

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of Lightning, which `rased train` silences
    pytest.mark.filterwarnings("ignore:.isinstance.treespec"),
]


class FourEars(Enhancer):
    """A filter for each of four channels, added up."""

    channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(4, 1, 33, padding=16)

    def predict(
        self,
        noisy: Float[Tensor, "batch channel time"],
        *,
        condition: Condition | None = None,
        generator: Any = None,
    ) -> Prediction:
        return Prediction(self.filter(noisy)[:, 0])


class Enrolled(Enhancer):
    """A gain that hangs on the level of an enrolment."""

    conditions = ("enrolment",)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Linear(1, 1)

    def predict(
        self,
        noisy: Float[Tensor, "batch time"],
        *,
        condition: Condition | None = None,
        generator: Any = None,
    ) -> Prediction:
        assert condition is not None
        level = condition["enrolment"].square().mean(-1, keepdim=True).sqrt()
        return Prediction(noisy * self.gain(level))


class Spoken(Enrolled):
    """A model with a condition that mixtures do not have."""

    conditions = ("speaker",)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed responses of four channels."""
    root = tmp_path_factory.mktemp("rooms")
    random = np.random.default_rng(0)
    for split in ("train", "valid"):
        folder = root / "src" / "rir" / split / f"room_{split}"
        folder.mkdir(parents=True)
        for place in range(2):
            tail = random.standard_normal((3000, 4)) * np.exp(-np.arange(3000) / 500)[:, None]
            tail[:60] = 0
            for channel in range(4):
                tail[50 + 2 * channel + place, channel] = 10.0
            soundfile.write(folder / f"{split}{place}.wav", 0.05 * tail, 16_000, subtype="FLOAT")
    pack([root / "src"], root / "rir", role="rir", jobs=1)
    return root / "rir"


def trained(model: Enhancer, **data: Any) -> tuple[pl.Trainer, Enhancer]:
    module = WaveformEnhancement(model, lr=1e-2, warmup_steps=0)
    datamodule = MixtureDataModule(batch_size=2, samples_per_epoch=4, validation_samples=2, **data)
    trainer = pl.Trainer(**QUICK)
    trainer.fit(module, datamodule=datamodule)
    assert trainer.global_step == 2
    return trainer, module.enhancer


def moved(before: dict[str, Tensor], after: Enhancer) -> bool:
    state = after.state_dict()
    return all(not torch.equal(before[name], value) for name, value in state.items())


def test_a_model_of_four_channels_trains_from_packed_responses(rooms: Path) -> None:
    model = FourEars()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scene = Scene(segment=0.25, microphones=4, reverb_probability=1.0)
    trainer, enhancer = trained(model, rir=[str(rooms)], scene=scene)
    assert moved(before, enhancer)
    assert torch.isfinite(trainer.callback_metrics["valid/si_sdr_improvement"])


def test_a_model_with_an_enrolment_trains() -> None:
    model = Enrolled()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer, enhancer = trained(model, scene=Scene(segment=0.25, enrolment=0.5))
    assert moved(before, enhancer)
    assert torch.isfinite(trainer.callback_metrics["valid/si_sdr_improvement"])


@pytest.mark.parametrize(
    ("model", "scene", "words"),
    [
        (FourEars, {}, "FourEars takes 4 channels, but the mixtures have 1: set data.scene"),
        (TinyWaveform, {"microphones": 4}, "takes 1 channels, but the mixtures have 4"),
        (Enrolled, {}, "needs the condition 'enrolment': set data.scene.enrolment to seconds"),
        (Spoken, {"enrolment": 0.5}, "'speaker', which MixtureDataModule does not give"),
        (TinyWaveform, {"enrolment": 0.5}, "it takes none: set data.scene.enrolment to null"),
    ],
)
def test_models_and_mixtures_that_do_not_fit_are_refused(
    rooms: Path, model: type[Enhancer], scene: dict[str, Any], words: str
) -> None:
    with pytest.raises(RasedError, match=words):
        trained(model(), rir=[str(rooms)], scene=Scene(segment=0.25, **scene))


def _samples(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Name and draws of each mixture of a batch that was written again."""
    told = json.loads((folder / "batch.json").read_bytes())["samples"]
    return [(f"{sample['index']:06d}", sample) for sample in told]


@pytest.mark.slow
def test_a_run_with_an_enrolment_is_scored_and_becomes_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # memory is measured by another process, which takes seconds
    monkeypatch.setattr(scoring, "MemoryOf", lambda systems, given: MemoryOf([]))
    recipe = FrozenRecipe(1, 1, seconds=0.5, min_seconds=0.2, enrolment=0.5)
    freeze("bundle", "bundle", None, tmp_path / "test", recipe=recipe)
    data = {"scene": {"segment": 0.25, "enrolment": 0.5}, "samples_per_epoch": 2}
    init_args = {"enhancer": {"class_path": f"{__name__}.Enrolled"}, "ema_decay": 0.0}
    config: dict[str, Any] = {
        "trainer": {"accelerator": "cpu", "max_steps": 1, "max_epochs": -1},
        "model": {
            "class_path": "rased.training.waveform.WaveformEnhancement",
            "init_args": {**init_args, "loss": {"class_path": "rased.losses.waveform.L1"}},
        },
        "data": {
            "class_path": "rased.data.datamodule.MixtureDataModule",
            "init_args": {**data, "rir": [], "batch_size": 2, "validation_samples": 1},
        },
        "run": {"examples": 0, "metrics": ["si-sdr"], "evaluate": ["bundle"]},
    }
    run = tmp_path / "run"
    with pytest.raises(RasedError, match=r"needs the condition 'enrolment'.*--run.evaluate '\[\]'"):
        train(config, run)
    config["run"]["evaluate"] = [str(tmp_path / "test")]
    assert train(config, run) == 0
    (result,) = (run / "results").glob("run--*.json")
    assert json.loads(result.read_bytes())["utterances"][0]["scores"]["si-sdr"]["value"] is not None
    replay(run, 1, tmp_path / "batch")
    for name, told in _samples(tmp_path / "batch"):
        key, start = told["enrolment"]["key"], told["enrolment"]["start"]
        speech = Corpus(["bundle"], role="speech", split="train")
        recording = speech.read(speech.key.tolist().index(key))
        wanted = np.resize(np.roll(recording, -start), 8_000)
        heard, _ = soundfile.read(tmp_path / "batch" / f"{name}-enrolment.wav", dtype="float32")
        np.testing.assert_array_equal(heard, wanted)
    model = rased.load(run / "zoo" / "run", allow=["tests"])
    voice = read_testset(tmp_path / "test").items[0].conditions["enrolment"]
    assert rased.enhance(np.ones(800), 16_000, model=model, condition={"enrolment": voice}).all()
    words = ["zoo", "publish", str(run), "--name", "mine", "--out", str(tmp_path / "zoo")]
    words += ["--allow", "tests", "--not-repeatable"]
    assert main(words) == 2
    assert main([*words, "--condition", f"enrolment={voice}"]) == 0

"""Frozen sets of four channels: made again hash for hash, heard by models of four channels whole, by others in part."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from jaxtyping import Float
from torch import Tensor

from rased.data.integrity.verify import verify
from rased.data.preparation.balanced import FrozenRecipe
from rased.data.preparation.freeze import freeze
from rased.data.preparation.pack import pack
from rased.errors import RasedError
from rased.evaluation.scoring.cost import measure
from rased.evaluation.scoring.jobs import Job, perform
from rased.evaluation.scoring.systems import System
from rased.evaluation.testset import EvaluationSet, read_noisy, read_testset
from rased.models.base import Condition, Enhancer, Prediction

COUNT = 4


class Ear(Enhancer):
    """Hands on one channel of several, or the only one."""

    def __init__(self, channels: int = 4, chosen: int = 3) -> None:
        super().__init__()
        self.channels, self.chosen = channels, chosen

    def predict(
        self,
        noisy: Float[Tensor, "batch *channel time"],
        *,
        condition: Condition | None = None,
        generator: Any = None,
    ) -> Prediction:
        return Prediction(noisy if self.channels == 1 else noisy[:, self.chosen])


class Given(System):
    """A system of a class of this file."""

    def load(self) -> Enhancer:
        return {"four": Ear(), "five": Ear(5), "one": Ear(1)}[self.name]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms")
    random = np.random.default_rng(0)
    folder = root / "src" / "rir" / "test" / "hall"
    folder.mkdir(parents=True)
    for place in range(2):
        tail = random.standard_normal((3000, 4)) * np.exp(-np.arange(3000) / 500)[:, None]
        tail[:60] = 0
        for channel in range(4):
            tail[50 + 3 * channel + place, channel] = 10.0
        soundfile.write(folder / f"p{place}.wav", 0.05 * tail, 16_000, subtype="FLOAT")
    pack([root / "src"], root / "rir", role="rir", jobs=1)
    return root / "rir"


@pytest.fixture(scope="module")
def frozen(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    folder = tmp_path_factory.mktemp("frozen") / "four"
    recipe = FrozenRecipe(COUNT, 1, microphones=4, proportions=(1.0, 3.0, 0.0))
    freeze("bundle", "bundle", rooms, folder, recipe=recipe)
    return read_testset(folder)


def test_a_frozen_set_has_the_channels_and_is_made_again(
    frozen: EvaluationSet, rooms: Path
) -> None:
    stored = json.loads((frozen.folder / "testset.json").read_bytes())
    assert stored["recipe"]["microphones"] == 4
    for item, told in zip(frozen.items, stored["items"], strict=True):
        noisy, target = (soundfile.read(path)[0] for path in (item.noisy, item.target))
        assert noisy.shape == (len(target), 4)
        assert target.ndim == 1
        alike = all(np.array_equal(noisy[:, 0], noisy[:, n]) for n in range(1, 4))
        assert alike == (told["condition"] == "noise")
        assert ("noise_rir" in told) == (told["condition"] == "reverb+noise")
        assert told["rir"] is None or told["noise_rir"] != told["rir"]
    recipe = FrozenRecipe(COUNT, 1, microphones=4, proportions=(1.0, 3.0, 0.0))
    again = freeze("bundle", "bundle", rooms, frozen.folder, recipe=recipe)
    assert again["list_sha256"] == stored["list_sha256"]
    assert not verify([frozen.folder]).problems


def test_a_model_gets_the_channels_that_it_declares(frozen: EvaluationSet, tmp_path: Path) -> None:
    for name, channel in (("four", 3), ("one", 0)):
        system = Given(name, "classical", name)
        items = frozen.items
        jobs = tuple(
            Job(system, item, 4.0, ("si-sdr",), tmp_path / f"{name}-{item.id}.wav", False)
            for item in items
        )
        for job, outcome in zip(jobs, perform(jobs), strict=True):
            assert outcome.scores["si-sdr"].value is not None
            heard, _ = soundfile.read(job.save)
            noisy, _ = soundfile.read(job.item.noisy)
            assert np.allclose(heard, noisy[:, channel], atol=1e-4)
    assert measure(Ear(), frozen)["real_time_factor"] >= 0


def test_too_few_channels_are_refused(frozen: EvaluationSet, rooms: Path, tmp_path: Path) -> None:
    job = Job(Given("five", "classical", "five"), frozen.items[0], 4.0, ("si-sdr",), None, False)
    with pytest.raises(RasedError, match="has 4 channels, but the enhancer needs 5"):
        list(perform((job,)))
    assert read_noisy(frozen.items[0].noisy, sample_rate=16_000).ndim == 1
    with pytest.raises(RasedError, match="fewer than 5 channels, such as"):
        freeze("bundle", "bundle", rooms, tmp_path / "x", recipe=FrozenRecipe(1, 1, microphones=5))
    with pytest.raises(RasedError, match="number of microphones is 9; allowed are 1 to 8"):
        FrozenRecipe(1, 1, microphones=9)

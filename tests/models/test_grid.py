"""Every sensible combination of the five parts builds and trains; every other one is refused with the reason."""

import itertools
import random
import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rased.errors import RasedError
from rased.layers.features import FEATURES
from rased.layers.level import Level
from rased.layers.targets import TARGETS
from rased.losses.base import Loss, WeightedSum
from rased.losses.mask import OutputMSE
from rased.losses.spectral import CompressedSpectrum
from rased.losses.waveform import SNR
from rased.models.frequency import (
    Features,
    FrequencyDomainEnhancer,
    Inputs,
    Phase,
    PostProcessing,
)
from rased.models.lstm import LSTM
from rased.signal.stft import STFT
from rased.training.base import Enhancement
from tests.training.synthetic import mixture

SMALL = STFT(n_fft=64, hop_length=32, win_length=64)
NORMALISATIONS = ("none", "global", "utterance", "running", "running_mean", "running_unit")
AXES: dict[str, tuple[Any, ...]] = {
    "kinds": (*((name,) for name in FEATURES), ("log_power", "mfcc"), ("magnitude", "complex")),
    "normalisation": NORMALISATIONS,
    "target": tuple(TARGETS),
    "source": ("noisy", "predicted"),
    "refined": ("no", "Griffin-Lim", "consistent"),
    "noise": ("none", "static", "dynamic"),
    "context": ((0, 0), (2, 1)),
    "post": (PostProcessing(), PostProcessing(12.0), PostProcessing(floor_db=20.0)),
    "level": (None, Level(running=True), Level(running=False)),
    "loss": ("target", "signal", "waveform", "all"),
}
"""The choices of every part, and where the loss compares."""
MAIN = ("kinds", "normalisation", "target", "source", "refined")
Choice = dict[str, Any]


def reason(choice: Choice) -> str:
    """Why a combination makes no sense, as the error says it; "" for one that does."""
    kinds = [FEATURES[name] for name in choice["kinds"]]
    if choice["noise"] != "none" and any(kind.signed for kind in kinds):
        return f"noise '{choice['noise']}' estimates a level, which complex features do not have"
    if choice["noise"] == "dynamic" and not all(kind.logarithmic for kind in kinds):
        return "tracks a floor in the log domain"
    if choice["normalisation"] == "global" and any(kind.learned for kind in kinds):
        return "'global' is computed before the training"
    if choice["normalisation"] == "running_unit":
        if any(kind.logarithmic for kind in kinds):
            return "'running_unit' divides by a level"
        if len(kinds) > 1:
            return "'running_unit' needs exactly one kind of feature"
    wanted = TARGETS[choice["target"]].phase
    if wanted != choice["source"]:
        return "contains its own phase" if wanted == "predicted" else "contains no phase"
    return ""


def made(choice: Choice) -> FrequencyDomainEnhancer:
    past, future = choice["context"]
    return FrequencyDomainEnhancer(
        partial(LSTM, hidden=3, layers=1),
        features=Features(choice["kinds"], bands=6, coefficients=4),
        inputs=Inputs(
            choice["normalisation"], past_frames=past, future_frames=future, noise=choice["noise"]
        ),
        target=choice["target"],
        phase=Phase(
            choice["source"],
            griffin_lim_iterations=2 if choice["refined"] == "Griffin-Lim" else 0,
            consistent=choice["refined"] == "consistent",
        ),
        post_processing=choice["post"],
        level=choice["level"],
        stft=SMALL,
    )


LOSSES: dict[str, Loss] = {
    "target": OutputMSE(),
    "signal": CompressedSpectrum(),
    "waveform": SNR(),
    "all": WeightedSum([OutputMSE(), CompressedSpectrum(), SNR()], [1.0, 1.0, 0.1]),
}


@cache
def trained_by(loss: str) -> Enhancement:
    """A training with a loss; its enhancer is replaced."""
    usual = {axis: choices[0] for axis, choices in AXES.items()}
    return Enhancement(made(usual), LOSSES[loss])


BATCH = mixture(2, 400, seed=0)
BATCH["noisy"][1, 200:] = BATCH["target"][1, 200:] = 0.0


def train_one_step(choice: Choice) -> None:
    """All gradients are finite, for half a row of silence too, and every layer of the network gets one."""
    torch.manual_seed(0)
    enhancer = made(choice)
    if enhancer.needs_statistics:
        enhancer.fit_statistics([(BATCH["noisy"], BATCH["target"])])
    module = trained_by(choice["loss"])
    module.enhancer = enhancer
    optimizer = torch.optim.SGD(enhancer.parameters(), lr=1e-3)
    loss = sum(module.losses(BATCH, "enhancer").values())
    assert isinstance(loss, Tensor)
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    for item in enhancer.parameters():
        assert item.grad is not None
        assert item.grad.any()
        assert item.isfinite().all()


@cache
def pairwise(seed: int = 0) -> tuple[Choice, ...]:
    """Sensible combinations in which any two choices that make sense together come at least once."""
    random_, found = random.Random(seed), []
    waiting = {
        frozenset(((one, first), (other, second)))
        for one, other in itertools.combinations(AXES, 2)
        for first in AXES[one]
        for second in AXES[other]
    }
    for start in sorted(waiting, key=lambda pair: sorted(map(str, pair))):
        if start not in waiting:
            continue
        waiting.discard(start)
        best = max(
            (dict(start) | row for row in _completed(dict(start), random_)),
            key=lambda row: len(waiting & _pairs(row)),
            default=None,
        )
        if best is not None:
            waiting -= _pairs(best)
            found.append(best)
    return tuple(found)


def _completed(start: Choice, random_: random.Random, tries: int = 12) -> Iterator[Choice]:
    """Yield random sensible combinations that contain some choices; few or none if there are hardly any."""
    found = 0
    for _ in range(400):
        row = {axis: random_.choice(choices) for axis, choices in AXES.items()} | start
        row["source"] = start.get("source", TARGETS[row["target"]].phase)
        if not reason(row):
            found += 1
            yield row
        if found == tries:
            return


def _pairs(row: Choice) -> set[frozenset[Any]]:
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def test_any_two_choices_that_make_sense_train_together() -> None:
    rows = pairwise()
    for row in rows:
        train_one_step(row)
    assert {axis: {row[axis] for row in rows} for axis in AXES} == {
        axis: {*choices} for axis, choices in AXES.items()
    }


def refused(choice: Choice) -> None:
    with pytest.raises(RasedError, match=re.escape(reason(choice))) as caught:
        made(choice)
    assert re.search(r"choose|write", str(caught.value))


def test_any_nonsense_in_one_place_is_refused_with_the_reason() -> None:
    """Each sensible combination, with any one choice replaced by any other one."""
    seen = set()
    for row in pairwise():
        for axis, choices in AXES.items():
            for choice in choices:
                other = {**row, axis: choice}
                if reason(other):
                    refused(other)
                    seen.add(re.sub("'.*?'", "", reason(other)))
    assert len(seen) == 7


@pytest.mark.slow
def test_every_combination_of_features_normalisation_target_and_phase() -> None:
    """The other choices go round."""
    others = {axis: itertools.cycle(AXES[axis]) for axis in AXES if axis not in MAIN}
    trained = refused_ones = 0
    for main in itertools.product(*(AXES[axis] for axis in MAIN)):
        row = dict(zip(MAIN, main, strict=True)) | {axis: next(it) for axis, it in others.items()}
        if reason(row) and not reason({**row, "noise": "none"}):
            row["noise"] = "none"
        if reason(row):
            refused(row)
            refused_ones += 1
        else:
            train_one_step(row)
            trained += 1
    assert trained > 1000
    assert refused_ones > 1000


def test_the_page_names_every_choice() -> None:
    page = (Path(__file__).parents[2] / "docs" / "frequency.md").read_text()
    for name in (*FEATURES, *TARGETS, *NORMALISATIONS, *AXES["noise"]):
        assert f"`{name}`" in page, name

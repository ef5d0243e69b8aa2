"""A curriculum moves the settings of the scene with the position, and nothing else of a mixture."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.curriculum import Curriculum
from rased.data.mixtures.plan import Plan
from rased.data.mixtures.scene import Scene
from rased.errors import RasedError

COUNT, EPOCHS = 20, 2.5
EASY, HARD = (15.0, 25.0), (-5.0, 5.0)


def plan(split: str = "train", **beginning: Any) -> Plan:
    data = MixtureDataModule(
        scene=Scene(segment=0.5, snr_db=HARD, reverb_probability=1.0),
        samples_per_epoch=COUNT,
        validation_samples=COUNT,
        curriculum=Curriculum(epochs=EPOCHS, **beginning) if beginning else None,
    )
    return data.plan(split)


def test_the_snr_moves_in_a_straight_line_and_all_else_stays() -> None:
    plain, moved = plan(), plan(snr_db=EASY)
    for epoch, index in np.ndindex(4, COUNT):
        share = min(1.0, (epoch + index / COUNT) / EPOCHS)
        before, after = plain.draw(epoch, index), moved.draw(epoch, index)
        low, high = (easy + share * (hard - easy) for easy, hard in zip(EASY, HARD, strict=True))
        quantile = (before.snr_db - HARD[0]) / (HARD[1] - HARD[0])
        assert after.snr_db == pytest.approx(low + quantile * (high - low))
        assert replace(after, snr_db=before.snr_db) == before
        assert share < 1 or after == before


def test_rooms_become_more_frequent() -> None:
    moved = plan(reverb_probability=0.0)
    shares = [
        sum(moved.draw(epoch, index).rir is not None for index in range(COUNT)) / COUNT
        for epoch in range(4)
    ]
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[3] == 1.0


def test_validation_is_that_of_the_scene() -> None:
    plain, moved = plan("valid"), plan("valid", snr_db=EASY)
    assert all(plain.draw(-1, index) == moved.draw(-1, index) for index in range(COUNT))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "changes nothing: set one of snr_db, level_dbfs"),
        ({"epochs": 0.0, "snr_db": EASY}, r"curriculum\.epochs is 0\.0; give more than 0"),
        ({"snr_db": (25.0, 15.0)}, r"snr_db is \[25\.0, 15\.0\]"),
        ({"reverb_probability": 1.5}, "reverb_probability is 1.5"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RasedError, match=sentence):
        Curriculum(**settings)

"""Pictures of spectrograms, read back by another library."""

import io

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from rased.evaluation.report.site.pictures import RANGE_DB, level_db, narrowed, png


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (257, 31)])
def test_a_picture_has_the_colours_of_the_levels(shape):
    level = np.random.default_rng(4).uniform(-1.3 * RANGE_DB, 0.2 * RANGE_DB, shape)
    found = np.asarray(Image.open(io.BytesIO(png(level))).convert("RGB"))
    share = np.clip(1 + level[::-1] / RANGE_DB, 0, 1)
    # 255 steps, rounded down.
    expected = colormaps["magma"](np.floor(share * 255).astype(int))[:, :, :3]
    assert np.array_equal(found, np.round(255 * expected).astype(np.uint8))


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_a_tone_is_at_its_frequency_and_level(rate):
    frequency = rate / 8
    time = torch.arange(rate) / rate
    level = level_db(torch.sin(2 * torch.pi * frequency * time), rate)
    place = int(level[:, level.shape[1] // 2].argmax())
    assert place / (len(level) - 1) == pytest.approx(1 / 4, abs=0.01)
    assert level_db(torch.zeros(rate), rate).max() == -100


@pytest.mark.parametrize("columns", [1, 7, 100, 1000])
def test_narrowed_pictures_keep_every_peak(columns):
    level = np.random.default_rng(5).uniform(-60, 0, (4, 613))
    found = narrowed(level, columns)
    assert found.shape[1] == min(columns, 613)
    assert np.array_equal(found.max(axis=1), level.max(axis=1))
    assert set(found.ravel()) <= set(level.ravel())

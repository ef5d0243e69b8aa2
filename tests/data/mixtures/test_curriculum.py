"""A curriculum moves the settings of the scene with the position, and nothing else of a mixture."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures import decays
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.curriculum import Curriculum
from rased.data.mixtures.decays import Decays
from rased.data.mixtures.plan import Plan
from rased.data.mixtures.scene import Scene
from rased.data.preparation.pack import pack
from rased.data.shards.tars import read_shard
from rased.errors import RasedError
from rased.signal import room

COUNT, EPOCHS = 20, 2.5
EASY, HARD = (15.0, 25.0), (-5.0, 5.0)
DRY, WET = (0.1, 0.2), (0.5, 1.0)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RASED_CACHE", str(folder))
        yield folder


def plan(
    split: str = "train",
    t60: tuple[float, float] | None = None,
    shuffle: Any = "samples",
    curriculum_t60: tuple[float, float] | None = None,
    **beginning: Any,
) -> Plan:
    if curriculum_t60:
        beginning["t60"] = curriculum_t60
    data = MixtureDataModule(
        scene=Scene(segment=0.5, snr_db=HARD, reverb_probability=1.0, t60=t60),
        samples_per_epoch=COUNT,
        validation_samples=COUNT,
        shuffle=shuffle,
        block_mb=0.1,
        window=1,
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


@pytest.fixture(scope="module")
def stored() -> dict[str, float]:
    """The reverberation times of the bundled rooms."""
    sources = [Corpus(["bundle"], role="rir", split=split) for split in ("train", "valid")]
    return {
        rir.key[number]: room.t60(torch.from_numpy(rir.read(number)))
        for rir in sources
        for number in range(len(rir))
    }


def test_reverberation_times_are_those_of_the_rooms(tmp_path: Path) -> None:
    """The times in the JSON of the shards, and those with which the responses were made."""
    random, times = np.random.default_rng(0), (0.2, 0.4, 0.8)
    for number, time in enumerate(times):
        decay = 10 ** (-3 * np.arange(16_000) / 16_000 / time)
        response = 0.1 * random.standard_normal(16_000) * decay
        response[0] = 0.9
        (tmp_path / "wav" / str(number)).mkdir(parents=True)
        soundfile.write(tmp_path / "wav" / str(number) / "a.wav", response, 16_000)
    soundfile.write(tmp_path / "wav" / "2" / "b.wav", [0.0, 0.9, 0.0], 16_000)
    pack([tmp_path / "wav"], tmp_path / "rir", role="rir", jobs=1)
    rir = Corpus([tmp_path / "rir"], role="rir", split="train")
    found = Decays(rir).t60
    np.testing.assert_allclose(found, [*times, np.nan], rtol=0.1)
    rows = [sample.details for sample in read_shard(tmp_path / "rir" / "train-000000.tar")]
    assert [row["t60"] for row in rows] == [*found[:3].tolist(), None]


def test_they_are_measured_once(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    rir = Corpus(["bundle"], role="rir", split="valid")
    first = Decays(rir).t60
    monkeypatch.setattr(decays, "_of", lambda *_: pytest.fail("measured again"))
    np.testing.assert_array_equal(Decays(rir).t60, first)
    monkeypatch.undo()
    for kept in (cache / "t60").iterdir():
        kept.write_bytes(b"damaged")
    np.testing.assert_array_equal(Decays(rir).t60, first)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_rooms_are_within_the_range_and_all_else_stays(
    split: str, stored: dict[str, float]
) -> None:
    before, after = plan(split), plan(split, t60=WET)
    assert after.rir is not None
    drawn = set()
    for epoch, index in np.ndindex(5, COUNT):
        ours = after.draw(epoch, index)
        assert ours.rir is not None
        assert replace(ours, rir=(theirs := before.draw(epoch, index)).rir) == theirs
        drawn.add(after.rir.key[ours.rir])
    fitting = {key for key in after.rir.key if WET[0] <= stored[key] <= WET[1]}
    assert drawn == fitting


def test_with_blocks_a_room_of_the_neighbourhood_is_chosen(stored: dict[str, float]) -> None:
    before, after = plan(shuffle="blocks"), plan(shuffle="blocks", t60=WET)
    assert after.rir is not None
    block = after.rir.blocks()
    assert block.max() > 1
    outside = 0
    for epoch, index in np.ndindex(2, COUNT):
        theirs, ours = before.draw(epoch, index).rir, after.draw(epoch, index).rir
        assert theirs is not None
        assert ours is not None
        nearby = {before._nearby["rir"](epoch, index, np.random.default_rng(n)) for n in range(100)}
        assert ours in nearby
        fitting = [n for n in nearby if WET[0] <= stored[after.rir.key[n]] <= WET[1]]
        assert ours in fitting or not fitting
        outside += not WET[0] <= stored[after.rir.key[theirs]] <= WET[1]
    assert outside


def test_rooms_become_more_reverberant(stored: dict[str, float]) -> None:
    """The range moves in a straight line; where it has no room, the closest one is used."""
    ends = (0.88, 0.94)
    moved = plan(t60=ends, curriculum_t60=DRY)
    assert moved.rir is not None
    times = np.array([stored[key] for key in moved.rir.key])
    for epoch, index in np.ndindex(4, COUNT):
        share = min(1.0, (epoch + index / COUNT) / EPOCHS)
        low, high = (dry + share * (wet - dry) for dry, wet in zip(DRY, ends, strict=True))
        off = np.maximum(0, np.maximum(low - times, times - high))
        drawn = moved.draw(epoch, index).rir
        assert off[drawn] == pytest.approx(off.min(), abs=1e-3)


def test_the_noise_of_an_array_is_in_such_a_room_too() -> None:
    rooms = Decays(Corpus(["bundle"], role="rir", split="train"))
    for seed in range(20):
        random = np.random.default_rng(seed)
        speech = rooms.draw(WET, random)
        noise = rooms.draw(WET, random, other_than=speech)
        assert speech != noise
        assert WET[0] <= rooms.t60[noise] <= WET[1]
    alone = (rooms.t60.min(), rooms.t60.min())
    only = rooms.draw(alone, random)
    assert rooms.draw(alone, random, other_than=only) == only


def test_ranges_without_a_room_are_refused() -> None:
    with pytest.raises(
        RasedError,
        match=r"scene\.t60 is \[3\.0, 4\.0\], but no room of the split 'train'.*0\.13 to 0\.91 s",
    ):
        plan(t60=(3.0, 4.0))
    with pytest.raises(RasedError, match=r"curriculum\.t60 is \[0\.01, 0\.02\], but no room"):
        plan(t60=WET, curriculum_t60=(0.01, 0.02))
    with pytest.raises(RasedError, match=r"curriculum\.t60 begins at .* set scene\.t60"):
        plan(curriculum_t60=DRY)
    with pytest.raises(RasedError, match=r"t60 is \[1\.0, 0\.5\]; give seconds"):
        Scene(t60=(1.0, 0.5))


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

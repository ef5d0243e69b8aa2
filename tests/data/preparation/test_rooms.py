"""Simulated rooms: geometry by (seed, number), physics as measured, shards that any number of jobs writes alike."""

import json
import math
import sys

import numpy as np
import pytest
import soundfile
import torch

from rased.cli import main
from rased.data.integrity.verify import verify
from rased.data.mixtures.corpus import Corpus, refuse_overlap
from rased.data.preparation import rooms
from rased.data.preparation.geometry import LARGEST, SMALLEST, RoomRecipe, draw
from rased.data.preparation.pack import pack
from rased.data.preparation.rooms import key, simulate
from rased.data.shards.index import read_index
from rased.data.shards.tars import read_shard
from rased.errors import RasedError
from rased.signal import room as measure

RECIPE = RoomRecipe(
    count=6, seed=5, t60=(0.2, 0.4), positions=2, splits={"train": 0.7, "valid": 0.3}
)


def test_rooms_are_boxes_with_everything_in_them():
    recipe = RoomRecipe(count=10, seed=1, t60=(0.1, 1.2), positions=3)
    for number in range(200):
        room = draw(recipe, number)
        assert np.all(np.clip(room.size, SMALLEST, LARGEST) == room.size)
        for place in (room.source, *room.microphones):
            assert all(0.39 < at < side - 0.39 for at, side in zip(place, room.size, strict=True))
        assert all(0.29 < math.dist(room.source, place) < 4.01 for place in room.microphones)
        length, width, height = room.size
        areas = np.repeat([width * height, length * height, length * width], 2)
        mean = float(np.dot(areas, room.absorption) / areas.sum())
        eyring = -0.161 * math.prod(room.size) / (areas.sum() * math.log(1 - mean))
        assert eyring == pytest.approx(room.t60, rel=0.01)
        assert 0 < min(room.absorption) <= max(room.absorption) <= 0.99


def test_a_room_is_a_function_of_seed_and_number():
    few, many = RoomRecipe(count=2, seed=1), RoomRecipe(count=2000, seed=1)
    assert draw(few, 1) == draw(many, 1)
    assert draw(few, 0) != draw(few, 1)
    assert draw(few, 1) != draw(RoomRecipe(count=2, seed=2), 1)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_splits_get_their_shares(count):
    recipe = RoomRecipe(count=count, seed=0, splits={"train": 8.0, "valid": 1.0, "test": 1.0})
    splits = [recipe.split(number) for number in range(count)]
    for name in ("train", "valid", "test"):
        assert abs(splits.count(name) - count * recipe.splits[name] / 10) <= 1


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    pytest.importorskip("pyroomacoustics")
    folder = tmp_path_factory.mktemp("rooms") / "rir"
    done = simulate(folder, recipe=RECIPE, shard_mb=0.03, jobs=1)
    assert (done.samples, done.resumed) == (12, 0)
    return folder


def _contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_are_whole_and_splits_share_no_room(simulated):
    assert not verify([simulated]).problems
    train, valid = (Corpus([simulated], role="rir", split=split) for split in ("train", "valid"))
    assert (len(train), len(valid)) == (8, 4)
    refuse_overlap(train, valid)
    assert len(read_index(simulated).shards) > 2


def test_the_json_says_what_the_response_is(simulated):
    stored = [sample for shard in sorted(simulated.glob("*.tar")) for sample in read_shard(shard)]
    assert {sample.details["key"] for sample in stored} == {
        key(RECIPE, number, place) for number in range(6) for place in range(2)
    }
    wanted, measured = [], []
    for sample in stored:
        details, room = sample.details, sample.details["room"]
        number = int(details["label"].rpartition("-")[2])
        assert room["size"] == list(draw(RECIPE, number).size)
        assert details["distance"] == pytest.approx(
            math.dist(room["source"], room["microphone"]), abs=1e-3
        )
        corpus = Corpus([simulated], role="rir", split=details["split"])
        row = corpus.key.tolist().index(details["key"])
        response = torch.from_numpy(corpus.read(row))
        # The simulator's fractional delays begin 40 samples early.
        arrival = details["distance"] / 343 * 16_000 + 40
        assert int(measure.direct_path(response)) == pytest.approx(arrival, abs=3)
        assert details["t60"] == pytest.approx(measure.t60(response), abs=2e-3)
        ratio = measure.direct_to_reverberant_ratio_db(response)
        assert details["drr_db"] == pytest.approx(ratio, abs=2e-3)
        assert 0.98 < float(response.abs().max()) < 1
        wanted.append(room["t60"])
        measured.append(details["t60"])
    # Boxes decay less evenly than the diffuse field of the formula.
    ratio = np.array(measured) / wanted
    assert np.median(ratio) == pytest.approx(1.1, abs=0.25)
    assert 0.6 < ratio.min() <= ratio.max() < 2


def test_a_run_that_was_cut_off_goes_on_to_the_same_files(simulated, tmp_path, monkeypatch):
    whole = _contents(simulated)
    folder = tmp_path / "rir"
    folder.mkdir()
    for name, content in whole.items():
        if name in ("pack.json", "train-000000.tar"):
            (folder / name).write_bytes(content)
    (folder / "train-000001.tar.part").write_bytes(b"half a shard")
    numbers = []
    render = rooms.render

    def counted(number, **options):
        numbers.append(number)
        return render(number, **options)

    monkeypatch.setattr(rooms, "render", counted)
    done = simulate(folder, recipe=RECIPE, shard_mb=0.03, jobs=1)
    assert 0 < done.resumed < done.samples == 12
    assert 0 not in numbers
    assert _contents(folder) == whole
    again = simulate(folder, recipe=RECIPE, shard_mb=0.03, jobs=1)
    assert again.resumed == again.samples == 12
    assert _contents(folder) == whole


@pytest.mark.slow
def test_several_processes_write_the_same_files(simulated, tmp_path):
    simulate(tmp_path / "rir", recipe=RECIPE, shard_mb=0.03, jobs=2)
    assert _contents(tmp_path / "rir") == _contents(simulated)


def test_the_verb(simulated, tmp_path, capsys):
    words = ["data", "rooms", "--seed", "5", "--t60", "0.2,0.4", "--json", "--jobs", "1"]
    assert main([*words, "--out", str(tmp_path / "rir"), "--count", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 1
    assert main([*words, "--out", str(simulated), "--count", "1"]) == 2
    assert "from other input or settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--count", "0"], "give 1 or more"),
        (["--count", "1", "--t60", "0.5,0.2"], "lower end must come first"),
        (["--count", "1", "--t60", "0.01,0.2"], "within 0.1 to 3"),
        (["--count", "1", "--split", "train=-1"], "shares of 0 or more"),
        (["--count", "1", "--seed", "-1"], "0 or more"),
    ],
)
def test_wrong_settings_are_named(tmp_path, capsys, words, sentence):
    assert main(["data", "rooms", "--out", str(tmp_path / "rir"), "--seed", "1", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_without_the_simulator_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(RasedError, match=r"pip install 'rased\[rooms\]'"):
        simulate(tmp_path / "rir", recipe=RECIPE)


def test_a_measured_response_is_packed_with_what_a_simulated_one_tells(tmp_path, simulated):
    random, decay = np.random.default_rng(0), np.exp(-6.9078 * np.arange(9_600) / 16_000 / 0.4)
    (tmp_path / "in").mkdir()
    response = 0.01 * random.standard_normal(9_600) * decay
    response[0] = 0.8
    soundfile.write(tmp_path / "in/hall.wav", response, 16_000, "FLOAT")
    soundfile.write(tmp_path / "in/click.wav", np.eye(1, 400)[0], 16_000, "FLOAT")
    pack([tmp_path / "in"], tmp_path / "out", role="rir", jobs=1)
    details = {
        sample.details["key"]: sample.details
        for shard in (tmp_path / "out").glob("*.tar")
        for sample in read_shard(shard)
    }
    assert details["hall"]["t60"] == pytest.approx(0.4, rel=0.1)
    tail = float(np.square(response[40:]).sum())
    assert details["hall"]["drr_db"] == pytest.approx(10 * np.log10(0.64 / tail), abs=0.1)
    assert (details["click"]["t60"], details["click"]["drr_db"]) == (None, None)
    first = next(read_shard(next(simulated.glob("*.tar")))).details
    assert details["hall"].keys() - {"gain_db"} == first.keys() - {"distance", "room"}

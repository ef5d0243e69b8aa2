"""Columns mapped from files are those of index.json, whatever changes and whoever else reads."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rased.data import columns
from rased.data.mixtures.corpus import Corpus
from rased.data.shards import mapped
from rased.data.shards.index import INDEX, bundle, read_index
from rased.errors import RasedError

ROLES = ("speech", "noise", "rir")


@pytest.fixture
def small(monkeypatch, cache):
    """Every index counts as large, and is read in many small pieces."""
    monkeypatch.setattr(mapped, "LEAST", 0)
    monkeypatch.setattr(columns, "_PIECE", 300)
    return cache / "columns"


def plain(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "LEAST", 1 << 40)
        return read_index(folder)


def assert_equal(first, second):
    assert first.columns.keys() == second.columns.keys()
    for name in first.columns:
        assert first.values(name) == second.values(name)
    assert (first.shards, first.licences, first.seconds) == (
        second.shards,
        second.licences,
        second.seconds,
    )


@pytest.mark.parametrize("role", ROLES)
def test_mapped_columns_are_those_of_the_index(small, role):
    for _ in range(2):
        index = read_index(bundle() / role)
        assert isinstance(index.columns["offset"], np.memmap)
        assert_equal(index, plain(bundle() / role))
    assert len([*small.iterdir()]) == 1


def test_the_index_is_read_once(small, folder, monkeypatch):
    first = read_index(folder / "speech")
    monkeypatch.setattr(mapped, "read_index_parts", None)
    assert_equal(read_index(folder / "speech"), first)


def test_a_split_in_one_piece_is_a_view_and_another_one_a_copy(small, folder, tmp_path):
    index = read_index(bundle() / "speech")
    for split in ("train", "valid", "test"):
        part = index.only(split)
        assert np.shares_memory(part.columns["offset"], index.columns["offset"])
        assert part.values("key") == [index.columns["key"][row] for row in index.rows(split)]
    stored = json.loads((folder / "noise" / INDEX).read_text())
    splits = stored["columns"]["split"]
    stored["columns"]["split"] = ["valid" if n % 3 else "train" for n in range(len(splits))]
    (tmp_path / INDEX).write_text(json.dumps(stored))
    (tmp_path / "train-000000.tar").symlink_to(folder / "noise" / "train-000000.tar")
    mixed = read_index(tmp_path)
    assert mixed.only("train").values("key") == mixed.values("key")[::3]


def test_a_changed_index_is_seen_and_its_earlier_columns_go(small, folder, tmp_path):
    stored = json.loads((folder / "noise" / INDEX).read_text())
    (tmp_path / "train-000000.tar").symlink_to(folder / "noise" / "train-000000.tar")
    path, times = tmp_path / INDEX, None
    # Labels of one length: the file keeps its size, and here its times, too.
    for label in ("aaaa", "bbbb", "cccc"):
        stored["columns"]["label"] = [label] * len(stored["columns"]["key"])
        (tmp_path / "new").write_text(json.dumps(stored))
        (tmp_path / "new").replace(path)
        times = times or path.stat()
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert set(read_index(tmp_path).columns["label"]) == {label}
        assert len([*small.iterdir()]) == 1


def test_a_damaged_index_is_named_as_without_maps_and_leaves_nothing(small, folder, tmp_path):
    text = (folder / "noise" / INDEX).read_text()
    (tmp_path / "train-000000.tar").symlink_to(folder / "noise" / "train-000000.tar")
    for wrong in (text[:-200], text.replace('"frames":[', '"frames":[-1,', 1), "{}"):
        (tmp_path / INDEX).write_text(wrong)
        said = []
        for read in (read_index, plain):
            with pytest.raises(RasedError) as caught:
                read(tmp_path)
            said.append(str(caught.value))
        assert said[0] == said[1]
        assert [*small.glob("*")] == []


def test_a_cache_that_cannot_be_written_is_not_needed(small, folder, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RASED_CACHE", str(tmp_path / "file"))
    assert_equal(read_index(folder / "speech"), plain(folder / "speech"))


def test_readers_at_the_same_time_agree(small, folder):
    with ThreadPoolExecutor(6) as pool:
        found = [*pool.map(read_index, [folder / "speech"] * 12)]
    for index in found:
        assert_equal(index, plain(folder / "speech"))
    assert len([*small.iterdir()]) == 1


def test_a_corpus_reads_the_same_samples(small, folder):
    one = Corpus([folder], role="speech", split="train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "LEAST", 1 << 40)
        other = Corpus([folder], role="speech", split="train")
    assert one.digest() == other.digest()
    np.testing.assert_array_equal(one.read(17), other.read(17))

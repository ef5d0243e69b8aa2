"""An index by key and what shards hold: as dictionaries would have it, in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rased.data.integrity.known import Known, Seen, load
from rased.data.schemas import COLUMNS, Shard
from rased.data.shards.index import INDEX, bundle, write_index

ROWS = st.lists(
    st.tuples(
        st.text("ab\u8a9e", min_size=1, max_size=4),
        st.integers(0, 1),
        st.integers(0, 2**40),
        st.binary(min_size=32, max_size=32),
    ),
    max_size=20,
)


@given(rows=ROWS)
def test_rows_are_those_of_the_index_by_key(tmp_path_factory, rows):
    columns = {name: [7] * len(rows) for name in COLUMNS}
    columns["key"], columns["shard"], columns["offset"] = (
        [row[place] for row in rows] for place in range(3)
    )
    columns["sha256"] = [row[3].hex() for row in rows]
    columns["split"] = columns["label"] = ["train"] * len(rows)
    columns["licence"] = [0] * len(rows)
    folder = tmp_path_factory.getbasetemp()
    shards = [Shard(f"train-00000{number}.tar", 2**41, "0" * 64) for number in range(2)]
    write_index(
        folder,
        role="speech",
        codec="flac",
        sample_rate=16_000,
        shards=shards,
        licences=["CC0"],
        columns=columns,
    )
    stored, trouble = load(folder)
    assert trouble == ""
    expected = {}
    for values in zip(*(columns[name] for name in COLUMNS), strict=True):
        row = dict(zip(COLUMNS, values, strict=True))
        expected[row["key"]] = {
            **row,
            "channels": 1,
            "shard": shards[row["shard"]].name,
            "licence": "CC0",
        }
    known = Known(stored)
    assert dict(known) == expected
    assert len(known) == len(expected)
    assert known.keys() - expected.keys() == set()
    for key in ("", "c", "aaaaaaaaaa", "a\u8a9e"):
        assert known.get(key) == expected.get(key)


def test_without_an_index_nothing_is_known(tmp_path):
    assert load(tmp_path) == (None, "index.json is missing")
    assert dict(Known(None)) == {}


@pytest.mark.parametrize(
    ("name", "value"), [("shard", 99), ("shard", -1), ("licence", 99), ("offset", 2**70)]
)
def test_damage_is_named(tmp_path, name, value):
    stored = json.loads((bundle() / "speech" / INDEX).read_bytes())
    stored["columns"][name][3] = value
    (tmp_path / INDEX).write_text(json.dumps(stored, separators=(",", ":")))
    assert load(tmp_path)[0] is None
    assert load(tmp_path)[1].startswith("index.json is damaged")


def test_what_occurs_in_several_splits_is_found():
    seen, first, second, other = Seen(), *map(Path, "abc")
    assert [seen.add(first, key) for key in "xyx"] == [True, True, False]
    assert seen.add(second, "x")
    assert seen.has(first, "y")
    assert not seen.has(second, "y")
    for folder, value, split in (
        (first, "ann", "train"),
        (first, "ann", "train"),
        (second, "ann", "valid"),
        (first, "bob", "train"),
        (other, "bob", "valid"),
    ):
        seen.remember(folder, "label", value, split)
    assert list(seen.shared([first, second])) == [("label", "ann", ("train", "valid"))]
    assert list(seen.shared([])) == []


_CHILD = """
import resource, sys
from pathlib import Path
from rased.data.integrity.known import ALL, SUMS, Known, Seen, load
def peak():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status") as status:  # ru_maxrss begins at that of the parent
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
def work(folder):
    stored, _ = load(folder, {"all": ALL, "sums": SUMS}[sys.argv[1]])
    if sys.argv[1] == "all":
        seen = Seen()
        for key, row in Known(stored).items():
            seen.add(folder, key)
            seen.remember(folder, "recording", row["sha256"], row["split"])
    return stored.head.samples
work(Path(sys.argv[2]))
before = peak()
count = work(Path(sys.argv[3]))
print((peak() - before) / count)
"""


@pytest.mark.parametrize(("what", "bound"), [("all", 170), ("sums", 90)])
def test_millions_of_samples_take_little_memory(tmp_path, what, bound):
    """Bytes a sample; 157 are 1 MB per GB of FLAC in recordings of 10 seconds."""
    for count in (20_000, 80_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        columns = {name: np.full(count, 150_000) for name in COLUMNS}
        columns |= {
            "key": [f"corpus_part_{number:09d}-utterance" for number in range(count)],
            "split": ["train"] * count,
            "label": [f"speaker{number % 99}" for number in range(count)],
            "sha256": [f"{number:064x}" for number in range(count)],
            "shard": [0] * count,
            "licence": [0] * count,
        }
        write_index(
            folder,
            role="speech",
            codec="flac",
            sample_rate=16_000,
            shards=[Shard("train-000000.tar", 10**9, "0" * 64)],
            licences=["CC0"],
            columns={name: list(map(_plain, column)) for name, column in columns.items()},
        )
    words = [sys.executable, "-c", _CHILD, what, str(tmp_path / "20000"), str(tmp_path / "80000")]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert float(told) < bound


def _plain(value):
    return value if isinstance(value, str) else int(value)

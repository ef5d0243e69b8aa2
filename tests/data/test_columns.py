"""The columns of an index in pieces and in little memory: what json makes of the file, wherever a piece ends."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rased.data import columns as reading
from rased.data.columns import Names, hexadecimal, read_columns, read_head
from rased.data.schemas import COLUMNS, Shard
from rased.data.shards.index import bundle, read_index, write_index
from rased.errors import RasedError

KINDS = {"label": "label", "frames": "number", "sha256": "hash"}
WORDS = st.text(st.sampled_from('ab",\\]}[{: é語'), max_size=6)


def _plain(columns):
    return {
        "label": Names(columns["label"]).tolist(),
        "frames": columns["frames"].tolist(),
        "sha256": list(hexadecimal(columns["sha256"])),
    }


@given(
    rows=st.lists(st.tuples(WORDS, st.integers(0, 2**40), st.binary(min_size=32, max_size=32))),
    piece=st.integers(1, 40),
    layout=st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}]),
    ascii_only=st.booleans(),
)
def test_any_index_is_read_as_json_reads_it(tmp_path_factory, rows, piece, layout, ascii_only):
    label, frames, hashes = ([row[place] for row in rows] for place in range(3))
    columns = {"label": label, "frames": frames, "sha256": [digest.hex() for digest in hashes]}
    path = tmp_path_factory.getbasetemp() / "index.json"
    content = {"schema": 1, "shards": [], "columns": columns}
    path.write_text(json.dumps(content, ensure_ascii=ascii_only, **layout), encoding="utf-8")
    before, reading._PIECE = reading._PIECE, piece
    try:
        head, found = read_columns(path, KINDS, repair="")
        assert read_head(path, repair="") == head
        short = read_columns(
            path, {"label": "length", "frames": "small", "sha256": "length"}, repair=""
        )[1]
    finally:
        reading._PIECE = before
    assert short["frames"].tolist() == frames
    assert {name: len(column) for name, column in short.items()} == dict.fromkeys(KINDS, len(rows))
    assert head == {"schema": 1, "shards": []}
    assert _plain(found) == columns


@pytest.mark.parametrize(
    "array", ["[1,]", "[,1]", "[1,,1]", "[1 1]", "[1", '["a]', "[[1]]", "[1] ]"]
)
@pytest.mark.parametrize("piece", [1, 2, 3, 100])
def test_an_array_that_is_none_is_not_read(tmp_path, monkeypatch, array, piece):
    monkeypatch.setattr(reading, "_PIECE", piece)
    path = tmp_path / "index.json"
    path.write_text('{"schema":1,"columns":{"frames":' + array + "}}")
    with pytest.raises(RasedError):
        read_columns(path, {"frames": "number"}, repair="")


def _patterns():
    """Place and text of every pattern that is given to a function of `re`."""
    for path in sorted(Path(reading.__file__).parents[1].rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and _of_re(call.func):
                for node in ast.walk(call):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                        yield f"{path.name}:{node.lineno}", str(node.value)


def _of_re(function):
    """Whether `re.` begins what is called, also where a call follows a call."""
    called = function
    while isinstance(called, ast.Attribute | ast.Call):
        called = called.value if isinstance(called, ast.Attribute) else called.func
    return called is not function and isinstance(called, ast.Name) and called.id == "re"


def test_no_pattern_is_possessive():
    """Python 3.11.0 to 3.11.4 match possessive quantifiers over groups wrongly."""
    patterns = list(_patterns())
    assert len(patterns) > 50
    found = [place for place, text in patterns if re.search(r"[)\]}\w][*+?}]\+", text)]
    assert found == []


GOOD = {"label": ["a"], "frames": [1], "sha256": ["0" * 64]}
DAMAGED = [
    ({"sha256": None}, "the field `columns.sha256` is missing"),
    ({"sha256": ["00"]}, "sha256"),
    ({"sha256": ["x" * 64]}, "sha256"),
    ({"sha256": ["0" * 62 + "  "]}, "sha256"),
    ({"sha256": ["0" * 128, ""]}, "sha256"),
    ({"label": [1]}, "label"),
    ({"label": ["a\nb"]}, "label"),
    ({"label": ["a\0"]}, "label"),
    ({"label": ["a" * 1001]}, "label"),
    ({"label": {"a": 1}}, "label"),
    ({"frames": ["a"]}, "frames"),
    ({"frames": [-1]}, "frames"),
    ({"frames": [10**18]}, "frames"),
    ({"frames": [10**30]}, "frames"),
    ({"frames": [1.5]}, "frames"),
    ({"frames": [True]}, "frames"),
    ({"frames": [None]}, "frames"),
    ({"frames": [[1]]}, "frames"),
    ({"frames": 1}, "frames"),
]


@pytest.mark.parametrize(
    "layout", [{"separators": (",", ":")}, {"indent": 1}], ids=["own", "other"]
)
@pytest.mark.parametrize(("change", "named"), DAMAGED)
def test_damage_is_one_sentence_that_names_file_and_column(tmp_path, change, named, layout):
    columns = {name: value for name, value in (GOOD | change).items() if value is not None}
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"schema": 1, "columns": columns}, **layout))
    with pytest.raises(RasedError) as caught:
        read_columns(path, KINDS, repair="Mend it.")
    assert str(path) in str(caught.value)
    assert named in str(caught.value)
    assert str(caught.value).endswith(". Mend it.")


@pytest.mark.parametrize(
    ("kind", "bad"),
    [("key", word) for word in ("", "../x", "a/b", "a.b", "a b", "a\\b", "a" * 201, "\u2028")]
    + [("split", word) for word in ("", "../x", "a/b", "a-b", "a" * 101)],
)
def test_keys_and_splits_are_never_paths(tmp_path, kind, bad):
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"columns": {"it": ["good", bad]}}))
    with pytest.raises(RasedError, match="column 'it'"):
        read_columns(path, {"it": kind}, repair="")


def test_names_are_the_strings():
    names = Names(np.array([word.encode() for word in ("été", "b", "a")]))
    assert names[0] == "été"
    assert names[np.array([2, 0])].tolist() == ["a", "été"]
    assert list(names) == ["été", "b", "a"]
    assert [names[place] for place in np.argsort(names.encoded)] == sorted(names)


def test_values_are_what_was_written():
    index = read_index(bundle() / "speech")
    written = json.loads((index.folder / "index.json").read_text())["columns"]
    assert {name: index.values(name) for name in COLUMNS} == written


_CHILD = """
import resource, sys
from pathlib import Path
from rased.data.mixtures.corpus import Corpus
def peak():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status") as status:  # ru_maxrss begins at that of the parent
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
small = Corpus([Path(sys.argv[1])], role="speech", split="train")
before = peak()
large = Corpus([Path(sys.argv[2])], role="speech", split="train")
print((peak() - before) / len(large))
"""


def test_a_large_index_takes_little_memory(tmp_path):
    for count in (100, 60_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "train-000000.tar").write_bytes(b"..")
        numbers = range(count)
        columns = {name: [1] * count for name in COLUMNS}
        columns |= {
            "key": [f"corpus_part_{number:09d}-utterance" for number in numbers],
            "split": ["train"] * count,
            "label": [f"speaker{number % 99}" for number in numbers],
            "shard": [0] * count,
            "licence": [0] * count,
            "sha256": [f"{number:064x}" for number in numbers],
        }
        write_index(
            folder,
            role="speech",
            codec="flac",
            sample_rate=16_000,
            shards=[Shard("train-000000.tar", 2, "0" * 64)],
            licences=["CC0"],
            columns=columns,
        )
    words = [sys.executable, "-c", _CHILD, str(tmp_path / "100"), str(tmp_path / "60000")]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert float(told) < 500

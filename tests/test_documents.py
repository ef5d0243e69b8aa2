"""Documents from outside: typed values, or one sentence that names file, field, what was found and what is allowed."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rased import documents
from rased.errors import RasedError

REPAIR = "Write it again."


class Part(msgspec.Struct):
    name: documents.Name
    bytes: documents.Count
    sha256: documents.Hash


class Whole(msgspec.Struct):
    sample_rate: documents.SampleRate
    parts: list[Part]
    facts: dict[documents.Word, documents.Number | documents.Word | None]


GOOD = {
    "sample_rate": 16_000,
    "parts": [{"name": "a b.tar", "bytes": 1, "sha256": "0" * 64}],
    "facts": {"snr": 1.5, "room": None, "speaker": "é語"},
}


def _parse(data):
    return documents.parse(data, Whole, of="x.json", repair=REPAIR)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_good_document_is_read_with_or_without_a_byte_order_mark(mark):
    found = _parse(mark + json.dumps(GOOD).encode())
    assert msgspec.to_builtins(found, enc_hook=str) == GOOD


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sample_rate": "x"}, "`sample_rate` is 'x'; expected a whole number"),
        ({"sample_rate": 10**30}, "expected a whole number of at most 768000"),
        ({"sample_rate": True}, "`sample_rate` is True; expected a whole number"),
        ({"sample_rate": 16000.5}, "`sample_rate` is 16000.5; expected a whole number"),
        ({"parts": 3}, "`parts` is 3; expected a list"),
        ({"parts": [{"name": "a", "bytes": 1}]}, "the field `parts[0].sha256` is missing"),
        ({"parts": [{**GOOD["parts"][0], "bytes": -1}]}, "`parts[0].bytes` is -1; expected"),
        ({"parts": [{**GOOD["parts"][0], "sha256": "0" * 63}]}, "expected 64 hexadecimal digits"),
        (
            {"parts": [{**GOOD["parts"][0], "name": "../a"}]},
            "`parts[0].name` is '../a'; expected a name of",
        ),
        ({"facts": {"a": 10**400}}, "number out of range"),
        ({"facts": {"a": []}}, "expected a number or text or null"),
        ({"facts": {"a\nb": 1}}, "one line of text"),
    ],
)
def test_what_does_not_fit_is_named(change, sentence):
    with pytest.raises(RasedError) as caught:
        _parse(json.dumps(GOOD | change))
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("'x.json' is damaged: ")
    assert str(caught.value).endswith(f". {REPAIR}")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{",
        "é".encode("latin-1"),
        b"[" * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_json_is_one_sentence(data):
    with pytest.raises(RasedError, match=r"^'x.json' is damaged: it (is not|contains) "):
        _parse(data)


@given(st.text(), st.integers(0, 60))
def test_depth_is_that_of_brackets_outside_strings(word, depth):
    text = "[" * depth + json.dumps(word) + "]" * depth
    if depth > documents.DEEPEST:
        with pytest.raises(RasedError, match="nested"):
            documents.plain(text, of="x", repair="")
    else:
        found = documents.plain(text, of="x", repair="")
        for _ in range(depth):
            (found,) = found
        assert found == word


NAMES = [
    "..",
    ".",
    "",
    ".a",
    "/a",
    "a/b",
    "a\\b",
    "a\0",
    "a\n",
    " a",
    "a ",
    "a" * 201,
    "a\x7f",
    "\u2028",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_plain_component(name):
    with pytest.raises(RasedError):
        documents.fit([name], list[documents.Name], of="x", repair="")


@pytest.mark.parametrize("name", ["a", "a.b", "é", "a b", "p232_001", "a" * 200])
def test_plain_names_pass(name):
    assert documents.fit([name], list[documents.Name], of="x", repair="") == [name]


def test_a_file_that_is_none_is_not_opened(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(RasedError, match=str(path)):
            documents.read(path, Whole, repair=REPAIR)
    (tmp_path / "large").write_bytes(b" " * 100)
    with pytest.raises(RasedError) as caught:
        documents.read(tmp_path / "large", Whole, repair=REPAIR, largest=99)
    assert str(caught.value) == f"'{tmp_path / 'large'}' has 100 bytes; the maximum is 99. {REPAIR}"


TABLE = "Path,Label\n a.wav ,é\n\nb.wav\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_many_programs_are_read(tmp_path, encoding, mark, end):
    path = tmp_path / "manifest.csv"
    path.write_bytes(TABLE.replace(",", mark).replace("\n", end).encode(encoding))
    found = list(documents.rows(path, needed=["path"], repair=REPAIR))
    assert found == [{"path": "a.wav", "label": "é"}, {"path": "b.wav", "label": ""}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("path\né\n".encode("latin-1"), "not text in UTF-8"),
        (b"id\n1\n", "has no column 'path'"),
        (b"", "has no column 'path'"),
        (b"path,path\n", "two columns named 'path'"),
        (b"path\n" + b"x" * 200_000 + b"\n", "is not a table"),
        (b"path\na,b\n", "line 2 has 2 fields"),
        (b"path\na\0\n", ""),
        (b"path" + b",x" * 1200, "the maximum is 1000"),
        ("path\na".encode("utf-16")[:-1], "not text"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(RasedError) as caught:
        list(documents.rows(path, needed=["path"], repair=REPAIR))
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)

"""Names out of files: one part of a path, whatever a file says."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rased.errors import RasedError, cut, shown
from rased.names import component, plain

BAD = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "..\\x",
    ".hidden",
    "a\0b",
    "a\nb",
    "a\x1b[31mb",
    "\u202egnp.exe",
    "x" * 201,
    "ü" * 101,
    " a",
    "a ",
    "\udce9",
    None,
    7,
    ["a"],
    {"a": 1},
    10**5000,
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: cut(shown(bad), 20))
def test_what_is_no_part_of_a_path_is_refused_in_one_sentence(bad: object) -> None:
    for check in (component, plain):
        with pytest.raises(RasedError) as refusal:
            check(bad, what="the name of the card")
        assert str(refusal.value).startswith("the name of the card is ")
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("good", ["p232_001", "a.b-c_d", "x" * 200])
def test_names_in_use_are_allowed(good: str) -> None:
    assert component(good, what="a name") == plain(good, what="a name") == good


@pytest.mark.parametrize("good", ["Zoë", "日本", "tag [remastered] (2)", "a, b"])
def test_a_component_may_be_of_any_script(good: str) -> None:
    assert component(good, what="a name") == good
    with pytest.raises(RasedError):
        plain(good, what="a name")


@given(st.text(max_size=12))
def test_whatever_is_allowed_stays_in_its_folder(text: str) -> None:
    for check in (component, plain):
        try:
            name = check(text, what="a name")
        except RasedError:
            continue
        joined = os.path.normpath(Path("/base") / name)
        assert joined == f"/base/{name}"
        assert Path(joined).parent == Path("/base")

"""docs/field.md: every line that it offers loads, every test that it names exists, and nothing is left out."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from rased.building import build, verify
from rased.classes import OWN
from rased.config import config_folder, load_configs, merge
from rased.data.corpora import CORPORA
from rased.layers.features import FEATURES
from rased.layers.targets import TARGETS
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.training.base import Enhancement

ROOT = Path(__file__).parent.parent
ELSEWHERE = {"folder", "manifest", "commons"}
"""Ways to pack one's own recordings, and a corpus that the survey does not know."""


@cache
def sections() -> dict[str, list[list[str]]]:
    """The cells of the rows of each table, by heading."""
    found: dict[str, list[list[str]]] = {}
    page = (ROOT / "docs" / "field.md").read_text(encoding="utf-8")
    for part in page.split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
        found[heading] = rows[2:]
    return found


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def offered(*headings: str) -> list[str]:
    """What the second column of some tables offers."""
    return [one for name in headings for row in sections()[name] for one in quoted(row[1])]


NAMED = ("Classical methods", "Data sets")
LINES = sorted({*offered(*(name for name in sections() if name not in (*NAMED, "Not there")))})
FILES = [line.split()[1::2] for line in LINES if line.startswith("-c ")]
SETTINGS = [line for line in LINES if line.startswith("{")]


def test_the_page_holds_nothing_else() -> None:
    others = [line for line in LINES if line[:1] not in "-{"]
    assert others == ["rased train --from"]
    assert len(FILES) > 60
    assert len(SETTINGS) > 30


@pytest.mark.parametrize("names", FILES, ids=" ".join)
def test_every_file_goes_with_a_model(names: list[str]) -> None:
    whole = any(name.startswith("model/") for name in names)
    config = load_configs([*([] if whole else ["model/gru-mask"]), *names])
    verify(Enhancement, config["model"], classes=OWN, where="model")


@pytest.mark.parametrize("line", SETTINGS)
def test_every_setting_builds(line: str) -> None:
    spec: Any = load_configs(["model/gru-mask"])["model"]["init_args"]["enhancer"]
    small = {"hidden": 4, "expansion": 4, "layers": 1}
    spec["init_args"]["network"]["init_args"] = small
    settings = merge(spec, {"init_args": yaml.safe_load(line)})
    assert isinstance(build(Enhancer, settings, classes=OWN), Enhancer)


def test_every_test_that_is_named_exists() -> None:
    tests = [
        quoted(row[2])
        for name, rows in sections().items()
        for row in rows
        if name not in ("Data sets", "Not there") and row[1] != "not there"
    ]
    assert all(tests)
    missing = [one for row in tests for one in row if not (ROOT / one).is_file()]
    assert not missing


def test_nothing_is_left_out() -> None:
    """Every feature, target, method, corpus, loss and way of training, and every model but variants of size."""
    words = {*re.findall(r"\w+", " ".join(SETTINGS))}
    assert words >= {*FEATURES, *TARGETS}
    assert {*offered("Classical methods")} == {*METHODS}
    assert {*offered("Data sets")} == {*CORPORA} - ELSEWHERE
    files = {name for names in FILES for name in names}
    for folder in ("training", "model", "loss"):
        for path in sorted((config_folder() / folder).glob("*.yaml")):
            family = re.sub(r"(-(small|causal|offline|mid|[tsml]))+$", "", path.stem)
            named = {f"{folder}/{path.stem}", f"{folder}/{family}", f"{folder}/{family}-b"}
            assert named & files, path.stem

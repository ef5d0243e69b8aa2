"""A checkpoint that comes with a graph is loaded by name, verified, without PyTorch."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import rased
import rased.onnx
from rased.errors import RasedError
from rased.export import export
from rased.export.targets import add_to_entry, difference
from rased.onnx.__main__ import main
from rased.onnx.runtime import graphs
from rased.shelves import DEFAULT_MODEL
from rased.zoo.card import read_card
from rased.zoo.loading import verify
from tests.bundled import recording

ZOO = Path(__file__).parents[2] / "zoo"


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A shelf with a copy of the default entry, under another name and without its graph."""
    entry = tmp_path / "shelf" / "copy"
    shutil.copytree(ZOO / DEFAULT_MODEL, entry)
    (entry / "model.onnx").unlink()
    monkeypatch.setenv("RASED_ZOO", str(entry.parent))
    return entry


def test_the_default_has_a_graph():
    assert DEFAULT_MODEL in graphs()


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ZOO.glob("*/model.onnx")))
def test_a_graph_of_the_zoo_is_its_checkpoint(name):
    torch.set_num_threads(1)
    exported, enhancer = rased.onnx.load(name), rased.load(name)
    files = read_card(ZOO / name)["files"]
    assert exported.facts["name"] == name
    assert exported.facts["weights_sha256"] == files["model.safetensors"]
    assert difference(enhancer, exported, seeds=1) < 1e-5


def test_a_new_graph_is_found_by_name_and_listed_in_the_card(shelf):
    assert "copy" not in graphs()
    content = (ZOO / DEFAULT_MODEL / "model.onnx").read_bytes()
    add_to_entry(shelf, content)
    assert read_card(shelf)["files"]["model.onnx"] == hashlib.sha256(content).hexdigest()
    noisy = recording("speech", "en_austen_000").numpy()[0, :8000]
    np.testing.assert_array_equal(rased.onnx.load("copy")(noisy), rased.onnx.load()(noisy))
    assert all(check.passed for check in verify(shelf))


def test_a_stop_in_the_middle_leaves_the_entry_as_it_was(shelf, monkeypatch):
    before = {path.name: path.read_bytes() for path in shelf.iterdir()}

    def stopped(folder, card):
        raise KeyboardInterrupt

    monkeypatch.setattr("rased.export.targets.write_card", stopped)
    with pytest.raises(KeyboardInterrupt):
        add_to_entry(shelf, b"graph")
    assert {path.name: path.read_bytes() for path in shelf.iterdir()} == before
    assert [path.name for path in shelf.parent.iterdir()] == ["copy"]


def test_what_is_no_entry_is_refused_before_the_work(shelf):
    enhancer = rased.load(DEFAULT_MODEL)
    enhancer.step = None  # an export would fail
    with pytest.raises(RasedError, match="no checkpoint 'nothing' in the zoo"):
        export(enhancer, "nothing", to="onnx", out=None)
    with pytest.raises(RasedError, match="--into-zoo writes the graph for ONNX in 32 bits"):
        export(enhancer, "copy", to="web", out=None)


@pytest.mark.parametrize("listed", [True, False])
def test_a_graph_that_was_changed_is_refused(shelf, listed):
    add_to_entry(shelf, (ZOO / DEFAULT_MODEL / "model.onnx").read_bytes())
    if listed:
        (shelf / "model.onnx").write_bytes(b"another graph")
    else:
        (shelf / "card.yaml").write_text(json.dumps({"files": []}))
    with pytest.raises(RasedError, match="was changed: its SHA-256 is not that in the card"):
        rased.onnx.load("copy")


def test_an_unknown_name_says_what_is_there(tmp_path, capsys):
    words = [str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--model", "gtcrn"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "there is no 'gtcrn': write it with `rased export NAME --to onnx --out DIR`" in said
    assert f"or choose a checkpoint that comes with a graph ({', '.join(graphs())})" in said

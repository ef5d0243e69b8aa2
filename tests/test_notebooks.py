"""The notebooks run, and what they show is small and says nothing of the machine that ran them."""

import re

import nbformat
import pytest

from docs.notebooks import NOTEBOOKS, execute, without_places

LARGEST = 1_000_000
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(notebook):
    return [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]


def texts(notebook):
    for output in outputs(notebook):
        yield from (output.get("text", ""), output.get("data", {}).get("text/plain", ""))


def test_there_are_five():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@each
def test_what_is_committed(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < LARGEST
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    said = "\n".join(texts(notebook))
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|usr|work|Users)/\S*", said) == []
    assert "\x1b" not in said
    assert "real-time factor" not in said
    assert f"/notebooks/{path.name})" in notebook.cells[0].source  # the badge opens this notebook


def test_paths_colours_and_progress_are_removed(tmp_path):
    said = f"\x1b[1m10 %\rdone\x1b[0m: {tmp_path}/runs\n"
    assert without_places(said, tmp_path) == "done: ./runs\n"


@pytest.mark.slow
@each
def test_a_notebook_runs(path, tmp_path):
    """In an empty folder; an error in a cell fails it. What was committed has an output wherever there is one now."""
    committed = nbformat.read(path, as_version=4)
    notebook = execute(path, tmp_path)
    assert [len(cell.get("outputs", [])) > 0 for cell in notebook.cells] == [
        len(cell.get("outputs", [])) > 0 for cell in committed.cells
    ]

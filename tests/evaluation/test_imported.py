"""Rows of weights that others published: marked, with where they come from."""

from pathlib import Path

import pytest

from rased.errors import RasedError
from rased.evaluation import result as results
from rased.evaluation.comparison.board import boards

BOARD = Path(__file__).parents[2] / "zoo" / "leaderboard"
SOURCE = "https://host/weights.tar"


@pytest.fixture
def imported(tmp_path):
    """A result of the project as if its weights were those of others."""
    row = results.load(BOARD / "gtcrn-tuned-16k--bundle.json")
    row.system |= {"name": "theirs", "imported": SOURCE}
    path = tmp_path / "theirs--bundle.json"
    results.save(row, path)
    return path


def test_a_row_of_others_is_marked_and_ranked_like_any(imported):
    noisy, own = (results.load(BOARD / f"{n}--bundle.json") for n in ("noisy", "gtcrn-tuned-16k"))
    row = results.load(imported)
    assert row.system["imported"] == SOURCE
    (board,) = boards([noisy, own, row])
    marks = {one.name: [mark.label for mark in one.marks] for one in board.rows}
    assert "imported" in marks["theirs"]
    assert "imported" not in marks["gtcrn-tuned-16k"]
    ranks = {one.name: one.rank for one in board.rows}
    assert ranks["theirs"] == ranks["gtcrn-tuned-16k"]


def test_where_they_come_from_is_a_line(imported):
    row = results.load(imported)
    row.system["imported"] = [SOURCE]
    results.save(row, imported)
    with pytest.raises(RasedError, match=r"system\.imported"):
        results.load(imported)

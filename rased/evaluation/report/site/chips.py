"""Warnings about rows, short enough for a label next to the name."""

from rased.evaluation.comparison.board import Board
from rased.evaluation.comparison.marks import Mark
from rased.evaluation.comparison.rows import Row


def chips(row: Row) -> list[Mark]:
    """Return the marks of a row, grave ones first."""
    return sorted(row.marks, key=lambda mark: not mark.grave)


def notes(board: Board) -> list[tuple[Mark, list[str]]]:
    """Return each distinct mark with the names of its rows, grave ones first."""
    found: dict[Mark, list[str]] = {}
    for row in board.rows:
        for mark in chips(row):
            found.setdefault(mark, []).append(row.name)
    return sorted(found.items(), key=lambda note: not note[0].grave)

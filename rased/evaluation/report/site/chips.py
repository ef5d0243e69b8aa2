"""What must be known of rows, short enough to stand beside their names."""

from rased.evaluation.comparison.board import Board, Row
from rased.evaluation.comparison.marks import Mark


def chips(row: Row) -> list[Mark]:
    """The marks of a row; the grave ones first."""
    return sorted(row.marks, key=lambda mark: not mark.grave)


def notes(board: Board) -> list[tuple[Mark, list[str]]]:
    """Each thing to know once, with the names of the rows it is true of; the grave ones first."""
    found: dict[Mark, list[str]] = {}
    for row in board.rows:
        for mark in chips(row):
            found.setdefault(mark, []).append(row.name)
    return sorted(found.items(), key=lambda note: not note[0].grave)

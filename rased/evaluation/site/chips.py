"""What must be known of a row, short enough to stand beside its name."""

import re
from dataclasses import dataclass

from rased.evaluation.board import Board, Row

_LABELS = (
    (r"(.+) is better and .+ worse than", r"\1 at odds", True),
    (r".*not comparable", "not comparable", True),
    (r"what it was trained on is not known", "training unknown", False),
    (r"trained with (.+) in its loss", r"trained with \1", False),
    (r"not causal", "not causal", False),
    (r"looks (\d+ ms) ahead", r"+\1", False),
    (r"([\d.]+ ms (?:late|early))", r"\1", False),
    (r"louder than its input by ([\d.]+ dB)", r"+\1", False),
)
"""Beginning of a sentence, label, whether it is grave."""


@dataclass(frozen=True)
class Chip:
    """One thing to know of a row.

    Attributes:
        label: a word or two.
        sentence: the same in full.
        grave: whether scores of the row mislead who does not know it.
    """

    label: str
    sentence: str
    grave: bool


def chips(row: Row) -> list[Chip]:
    """The marks of a row, with a label for each; the grave ones first."""
    return sorted(map(_chip, row.marks), key=lambda chip: not chip.grave)


def notes(board: Board) -> list[tuple[Chip, list[str]]]:
    """Each thing to know once, with the names of the rows it is true of; the grave ones first."""
    found: dict[Chip, list[str]] = {}
    for row in board.rows:
        for chip in chips(row):
            found.setdefault(chip, []).append(row.name)
    return sorted(found.items(), key=lambda note: not note[0].grave)


def _chip(mark: str) -> Chip:
    """A sentence with its label; goes when `Row.marks` are data themselves."""
    for start, label, grave in _LABELS:
        match = re.match(start, mark)
        if match is not None:
            return Chip(match.expand(label), mark, grave)
    return Chip("see the note", mark, False)

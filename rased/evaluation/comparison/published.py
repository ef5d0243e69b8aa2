"""Scores from papers: shown next to the rows measured here, but never ranked with them."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rased.evaluation.comparison.board import Board
from rased.evaluation.comparison.norm import plain_name
from rased.metrics import METRICS

TABLE = Path(__file__).parent / "published.csv"
TAGS = {"A": "the authors", "T": "another paper's table", "S": "a third party's rerun"}
UNKNOWN = "unknown"
NOTICE = "Published elsewhere: with other protocols, not measured here, not ranked"


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        dataset: the test set, as named there.
        system: the system, as named there.
        year: year of publication; None if unknown.
        parameters: number of parameters; None if unknown.
        macs_per_second: for one second of audio; None if unknown.
        causal: None if unknown.
        scores: by metric, in its unit.
        told_by: who reports it: "the authors", "another paper's table", "a third party's rerun", or "unknown".
        source: where to find it.
    """

    dataset: str
    system: str
    year: int | None
    parameters: float | None
    macs_per_second: float | None
    causal: bool | None
    scores: dict[str, float]
    told_by: str
    source: str

    @property
    def name(self) -> str:
        """Return name and year."""
        return self.system if self.year is None else f"{self.system}, {self.year}"


def published_beside(board: Board) -> list[Published]:
    """Return what was published for a test set with the board's name, in any of its metrics, oldest first.

    Names are equal if their letters and digits are: "voicebank-demand" equals "VoiceBank+DEMAND", but neither equals
    "VoiceBank+DEMAND (survey protocol)".
    """
    name = plain_name(board.testset["name"])
    found = [
        row
        for row in _table()
        if plain_name(row.dataset) == name and any(metric in row.scores for metric in board.metrics)
    ]
    return sorted(found, key=lambda row: (row.year or 0, row.system))


@lru_cache(maxsize=1)
def _table() -> tuple[Published, ...]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_read(row) for row in csv.DictReader(file))


def _read(row: dict[str, str]) -> Published:
    return Published(
        dataset=row["dataset"],
        system=row["system"],
        year=int(row["year"]) if row["year"] else None,
        parameters=1e6 * float(row["parameters_m"]) if row["parameters_m"] else None,
        macs_per_second=1e9 * float(row["macs_g"]) if row["macs_g"] else None,
        causal={"yes": True, "no": False, "": None}[row["causal"]],
        scores={metric: float(row[metric]) for metric in METRICS if row.get(metric)},
        told_by=" and ".join(TAGS[letter] for letter in row["tag"]) or UNKNOWN,
        source=row["source"],
    )

"""metrics.csv read back: rows that are whole; the last one may be torn by a kill or a full disk."""

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from rased.errors import RasedError

NAME = "metrics.csv"
KEYS = ("step", "time")


@dataclass(frozen=True)
class Row:
    """What was logged together.

    Attributes:
        step: number of the step, from 0.
        time: seconds since 1970.
        values: number by metric.
        text: the row as it stands in the file, by column.
    """

    step: int
    time: float
    values: dict[str, float]
    text: dict[str, str]


def read_metrics(path: Path) -> tuple[list[Row], list[str]]:
    """Read the rows and the columns of a metrics.csv; rows that are not whole are left out, and named on stderr.

    Raises:
        RasedError: the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return [], [*KEYS]
    except OSError as error:
        raise RasedError(f"'{path}' cannot be read: {error.strerror}.") from None
    lines = text.splitlines(keepends=True)
    columns = next(csv.reader(lines[:1]), [])
    if not {*KEYS} <= {*columns}:
        if text.strip("\0\r\n "):
            _say(path, "its first line does not name the columns: none of its rows is used")
        return [], [*KEYS]
    rows, torn = [], 0
    for line in lines[1:]:
        row = _row(line, columns) if line.endswith("\n") else None  # a row is whole with its end
        if row is not None:
            rows.append(row)
        elif line.strip():
            torn += 1
    if torn:
        _say(path, f"{torn} of its rows {'is' if torn == 1 else 'are'} torn and left out")
    return rows, columns


def _row(line: str, columns: list[str]) -> Row | None:
    """A row; None where it is not whole."""
    if "\0" in line:
        return None
    try:
        cells = next(csv.reader(io.StringIO(line)))
        if len(cells) != len(columns):
            return None
        text = dict(zip(columns, cells, strict=True))
        values = {name: float(cell) for name, cell in text.items() if cell and name not in KEYS}
        row = Row(int(text["step"]), float(text["time"]), values, text)
    except (ValueError, csv.Error, StopIteration):
        return None
    return row if row.step >= 0 else None


def _say(path: Path, what: str) -> None:
    print(f"'{path}' is damaged: {what}.", file=sys.stderr)

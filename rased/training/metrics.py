"""Read metrics.csv. The last row may be incomplete after a kill or a full disk; such rows are ignored."""

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
    """One row of metrics.csv.

    Attributes:
        step: number of the step, from 0.
        time: seconds since 1970.
        values: value of each metric.
        text: the row as text, by column.
    """

    step: int
    time: float
    values: dict[str, float]
    text: dict[str, str]


def read_metrics(path: Path) -> tuple[list[Row], list[str]]:
    """Read the complete rows and the columns of a metrics.csv; report incomplete rows on stderr.

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
        # A crash of the machine may leave only zero bytes; that needs no report.
        if text.strip("\0\r\n "):
            _say(path, "its first line does not hold the column names, so none of its rows is used")
        return [], [*KEYS]
    rows, torn = [], 0
    for line in lines[1:]:
        # An incomplete row has no line end.
        row = _row(line, columns) if line.endswith("\n") else None
        if row is not None:
            rows.append(row)
        elif line.strip():
            torn += 1
    if torn:
        _say(path, f"{torn} of its rows {'is' if torn == 1 else 'are'} incomplete and ignored")
    return rows, columns


def _row(line: str, columns: list[str]) -> Row | None:
    """Parse a row; return None if it is incomplete."""
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

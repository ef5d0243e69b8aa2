"""Bar charts of means with intervals, drawn as SVG in the page."""

from dataclasses import dataclass

from rased.evaluation.comparison.board import Board
from rased.evaluation.report.terminal import decimals
from rased.metrics import METRICS

# Units of the drawing: height of a line, margin, width of the names, whole width, width of the values.
_LINE, _TOP, _LABEL, _WIDTH, _VALUE = 26, 10, 132, 400, 44


@dataclass(frozen=True)
class Bar:
    """One bar of a chart, in units of the drawing.

    Attributes:
        name: name of the system.
        kind: "noisy", or "" for a system.
        top: y of its upper edge.
        end: x of the mean.
        low: x of the lower end of the interval.
        high: x of the upper end.
        label: formatted mean.
        tip: mean and interval as text.
    """

    name: str
    kind: str
    top: int
    end: float
    low: float
    high: float
    label: str
    tip: str


@dataclass(frozen=True)
class Chart:
    """All systems in one metric (the target appears only in the table).

    Attributes:
        title: name and unit of the metric.
        bars: top to bottom, in the order of the table.
        height: height of the drawing.
        zero: x where bars begin.
        noisy: x of the noisy input's mean; None if there is none.
    """

    title: str
    bars: list[Bar]
    height: int
    zero: float
    noisy: float | None


def chart(board: Board, metric: str) -> Chart:
    """Return the bars of one metric, without rows that are not comparable."""
    drawn = [
        (row, cell.interval)
        for row in board.rows
        if (cell := row.cells.get(metric)) is not None
        and cell.interval is not None
        and cell.comparable
        and row.result.system["kind"] != "target"
    ]
    # Bars begin at zero, or at the lowest MOS, so that their lengths compare.
    ends = [end for _, interval in drawn for end in interval.ends]
    floor = METRICS[metric].range[0] if METRICS[metric].unit == "MOS" else 0.0
    low, high = min([floor, *ends]), max([floor, *ends])
    scale = (_WIDTH - _LABEL - _VALUE) / ((high - low) or 1.0)  # 1.0: all values equal

    def place(value: float) -> float:
        return round(_LABEL + (value - low) * scale, 1)

    digits = decimals(metric)
    unit = METRICS[metric].unit
    bars = [
        Bar(
            name=row.name,
            kind=row.result.system["kind"] if not row.kind else "",
            top=_TOP + number * _LINE,
            end=place(interval.mean),
            low=place(interval.ends[0]),
            high=place(interval.ends[1]),
            label=f"{interval.mean:.{digits}f}",
            tip=(
                f"{row.name}: {interval.mean:.{digits}f} {unit}".rstrip()
                + (
                    f", 95 % interval {interval.low:.{digits}f} to {interval.high:.{digits}f}"
                    if interval.half is not None
                    else ""
                )
            ),
        )
        for number, (row, interval) in enumerate(drawn)
    ]
    noisy = next((bar.end for bar in bars if bar.kind == "noisy"), None)
    title = METRICS[metric].title + (f" ({unit})" if unit else "")
    return Chart(title, bars, 2 * _TOP + len(bars) * _LINE, place(floor), noisy)

"""Print leaderboards in a terminal, or return them as plain data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rased.evaluation.comparison.board import BASELINE, Board, boards, showing
from rased.evaluation.comparison.conditions import by_condition, described, worst
from rased.evaluation.comparison.marks import STATED
from rased.evaluation.comparison.published import NOTICE, Published, published_beside
from rased.evaluation.comparison.rows import ALPHA, WITHOUT_ENHANCER, Row
from rased.evaluation.comparison.statistics import Interval
from rased.evaluation.result import Result
from rased.metrics import METRICS
from rased.models.cost import Latency
from rased.terminal import open_console

VERDICTS = (
    "▲ better, ▼ worse than {baseline} (t test of the difference over speakers, p < {alpha} after Holm correction over "
    "the systems of a column); "
)
LEGEND = (
    "± half of the 95 % confidence interval over speakers (cluster-robust t); {verdicts}bold: the best, and rows that "
    "cannot be distinguished from it; struck through: not comparable; rank: average rank as in the URGENT challenges, "
    "one vote per family of metrics; RTF: processor seconds per second of audio, one file at a time on one thread "
    "of {processor}; memory: added by loading and enhancing 10 s; latency: window and look-ahead + hop, as in the "
    "DNS Challenge, all: needs the whole file"
)
_PIPE_WIDTH = 200  # columns of text
_ENDLESS = 10_000
_NAME = 34


def print_table(
    rows: Sequence[Result],
    console: Console | None = None,
    *,
    baseline: str = BASELINE,
    published: bool = False,
    columns: Sequence[str] = (),
) -> None:
    """Print a table for each test set, with its marks and a legend.

    Args:
        rows: results.
        console: where to print; None: standard output.
        baseline: system that the others are compared with.
        published: add scores from papers for a test set of the same name, below a line.
        columns: metrics to show; empty: all.
    """
    found = boards(rows, baseline=baseline)
    print_boards(found, console or terminal(), published=published, columns=columns)


def print_boards(
    found: Sequence[Board],
    console: Console,
    *,
    published: bool = False,
    columns: Sequence[str] = (),
) -> None:
    """Print the tables of boards; see `print_table`."""
    for board in (showing(board, columns) for board in found):
        others = published_beside(board) if published else []
        console.print(*_fitting(board, others, console), sep="\n")
        for number, mark in enumerate(_marks(board), start=1):
            console.print(f"[{number}] {mark}", markup=False, highlight=False, style="yellow")
        for note in board.notes:
            console.print(note, markup=False, highlight=False, style="yellow")
        verdicts = VERDICTS.format(baseline=board.baseline, alpha=ALPHA) if board.baseline else ""
        legend = LEGEND.format(verdicts=verdicts, processor=processor_of(board) or "no processor")
        console.print(legend, style="dim", highlight=False)
        if others:
            console.print(f"{NOTICE}:", style="italic", highlight=False)
        for row in others:
            console.print(
                f"  {row.name}, by {row.told_by}: {row.source}",
                style="dim italic",
                markup=False,
                highlight=False,
            )


def terminal() -> Console:
    """Return a console on standard output, with a large width if it is not a terminal."""
    console = open_console()
    return console if console.is_terminal else open_console(width=_PIPE_WIDTH)


def _marks(board: Board) -> list[str]:
    return list(
        dict.fromkeys(f"{row.name}: {mark.sentence}" for row in board.rows for mark in row.marks)
    )


def _fitting(board: Board, others: Sequence[Published], console: Console) -> list[Table]:
    """Return the widest table that fits: with intervals and costs, without intervals, or without both.

    If none fits, split the metrics over several tables.
    """
    shapes = ((True, True), (False, True), (False, False))  # the widest first
    tables = [_table(board, others, intervals=with_, costs_too=costs_) for with_, costs_ in shapes]
    # `measure` would otherwise not report more than the width of the console.
    endless = console.options.update(max_width=_ENDLESS)
    for table in tables:
        if console.measure(table, options=endless).maximum <= console.width:
            return [table]
    if len(board.metrics) < 2:
        return [tables[-1]]
    middle = len(board.metrics) // 2
    parts = (
        replace(board, metrics=part) for part in (board.metrics[:middle], board.metrics[middle:])
    )
    return [table for part in parts for table in _fitting(part, others, console)]


def _table(board: Board, others: Sequence[Published], *, intervals: bool, costs_too: bool) -> Table:
    facts = board.testset
    title = f"{board.name}: {facts['count']} utterances, target: {facts['target']}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("system", no_wrap=True)
    if any(row.rank is not None for row in board.rows):
        table.add_column("rank", justify="right", no_wrap=True)
    for metric in board.metrics:
        heading = METRICS[metric].title.replace(" ", "\n")
        table.add_column(heading, justify="right", no_wrap=True)
    priced = [costs(row.result) for row in board.rows]
    headings = ("para-\nmeters", "MACs\nper s", "RTF", "latency\nms", "memory\nMB")
    kept = [
        place
        for place in range(len(headings))
        if costs_too and any(price[place] for price in priced)
    ]
    for place in kept:
        table.add_column(headings[place], justify="right", no_wrap=True)
    marks = _marks(board)
    for row in board.rows:
        numbers = [str(marks.index(f"{row.name}: {mark.sentence}") + 1) for mark in row.marks]
        name = Text(row.name + (f" [{','.join(numbers)}]" if numbers else ""))
        kind = row.result.system["kind"]
        table.add_row(
            name,
            *([] if all(r.rank is None for r in board.rows) else [rank_of(row)]),
            *[_shown(board, row, metric, intervals) for metric in board.metrics],
            *[costs(row.result)[place] for place in kept],
            style="dim" if kind in WITHOUT_ENHANCER else None,
        )
    beside = [row for row in others if any(metric in row.scores for metric in board.metrics)]
    if beside:
        table.add_row(Text("── published, not measured here ──", style="italic"))
    for other in beside:
        prices = (compact(other.parameters), compact(other.macs_per_second), "", "", "")
        table.add_row(
            Text(other.name if len(other.name) <= _NAME else f"{other.name[: _NAME - 1]}…"),
            *([] if all(r.rank is None for r in board.rows) else [""]),
            # Blanks where other rows have ▲ or ▼.
            *[f"{other.scores[m]:g}  " if m in other.scores else "" for m in board.metrics],
            *[prices[place] for place in kept],
            style="dim italic",
        )
    return table


def _shown(board: Board, row: Row, metric: str, intervals: bool) -> Text:
    cell = row.cells.get(metric)
    if cell is None:
        return Text("")
    if cell.interval is None:
        return Text("none  ")
    digits = decimals(metric)
    text = f"{cell.interval.mean:.{digits}f}"
    if intervals and row.result.system["kind"] != "target":
        text += plus_minus(cell.interval, digits)
    if intervals and cell.spread is not None:
        text += f" (seeds ±{cell.spread:.{digits}f})"
    if intervals and cell.count < cell.total:
        text += f" ({cell.count}/{cell.total})"
    text += {"better": " ▲", "worse": " ▼", "": "  "}[cell.verdict if row.kind else ""]
    if not cell.comparable:
        return Text(text, style="strike")
    best = cell.best and row.kind
    colour = {"better": "green", "worse": "red", "": ""}[cell.verdict if row.kind else ""]
    return Text(text, style=f"{'bold ' if best else ''}{colour}".strip())


def print_conditions(board: Board, metric: str, fact: str, console: Console) -> None:
    """Print the means of a metric by condition: one row per system, one column per condition."""
    groups = by_condition(board, metric, fact)
    title = f"{METRICS[metric].title} by {fact} on {board.name}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("system", no_wrap=True)
    for group in groups:
        table.add_column(f"{group.name}\nn = {group.count}", justify="right")
    digits = decimals(metric)
    for row in board.rows:
        means = [group.means.get(row.name) for group in groups]
        shown = ["" if m is None else f"{m.mean:.{digits}f}{plus_minus(m, digits)}" for m in means]
        table.add_row(row.name, *shown, style=None if row.kind else "dim")
    console.print(table)


def print_worst(
    board: Board, metric: str, count: int, console: Console, *, sounds: Path | None = None
) -> None:
    """Print the utterances where each system lost most against the baseline.

    Args:
        board: board of a test set.
        metric: one of its columns.
        count: number of utterances per system.
        console: where to print.
        sounds: folder with <testset>/<system>/<id>.wav, as `evaluate(..., save_audio=True)` writes them; the paths
            of existing files are printed.
    """
    against = f", against {board.baseline}" if board.baseline else ""
    title = f"worst {METRICS[metric].title} on {board.name}{against}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for heading in ("system", "utterance"):
        table.add_column(heading, no_wrap=True)
    table.add_column(METRICS[metric].title, justify="right")
    table.add_column("change", justify="right")
    table.add_column("facts")
    digits = decimals(metric)
    folders = {row.name: row.result.name for row in board.rows}
    heard = []
    for bad in worst(board, metric, count):
        value = bad.status if bad.value is None else f"{bad.value:.{digits}f}"
        change = ""
        if bad.value is not None and bad.baseline is not None:
            change = f"{bad.value - bad.baseline:+.{digits}f}"
        table.add_row(bad.system, bad.utterance.id, value, change, described(bad.utterance))
        if sounds is not None:
            home = sounds / str(board.testset["name"])
            heard.append(home / folders[bad.system] / f"{bad.utterance.id}.wav")
    console.print(table)
    for path in heard:
        if path.is_file():
            console.print(str(path), markup=False, highlight=False, soft_wrap=True)


def plus_minus(interval: Interval, digits: int) -> str:
    """Format half of an interval; "" if the interval refers to the recordings only."""
    return "" if interval.half is None else f" ±{interval.half:.{digits}f}"


def rank_of(row: Row) -> str:
    """Format the overall rank."""
    return "" if row.rank is None else f"{row.rank:.2f}"


def decimals(metric: str) -> int:
    """Return the number of decimals to show."""
    return {"dB": 1, "MOS": 2}.get(METRICS[metric].unit, 3)


def costs(row: Result) -> tuple[str, str, str, str, str]:
    """Format parameters, MACs per second, real-time factor, latency in ms and memory in MB.

    Values that the submitter of enhanced files states have a dagger.
    """
    system, latency = row.system, latency_of(row)
    if system["kind"] in (*WITHOUT_ENHANCER, "files"):
        told = [compact(row.stated.get(name)) for name in ("parameters", "macs_per_second")]
        counted, macs, late = (
            f"{text}{STATED}" if text else "" for text in (*told, latency.shown(""))
        )
        return counted, macs, "", late, ""
    factor, memory = row.cost["real_time_factor"], row.cost["peak_memory_mb"]
    return (
        compact(system["parameters"]),
        compact(system["macs_per_second"]),
        "" if factor is None else f"{factor:.3f}",
        latency.shown("all" if system["latency"] is None else "?"),
        "" if memory is None else f"{memory:.0f}",
    )


def latency_of(row: Result) -> Latency:
    """Return the latency of the system of a result; its parts are unknown if the result has no hop."""
    system, stated = row.system, row.stated
    if "buffering_ms" in stated:
        return Latency.of_milliseconds(stated["algorithmic_latency_ms"], stated["buffering_ms"])
    late, hop = system["latency"], system.get("buffering")
    window = None if late is None or hop is None else late + hop
    return Latency(window, hop, system["sample_rate"])


def processor_of(board: Board) -> str:
    """Return the processor on which the speeds were measured; "" if no system has a speed."""
    found = dict.fromkeys(row.result.cost["processor"] for row in board.rows)
    return ", ".join(name for name in found if name is not None)


def compact(number: int | float | None) -> str:
    """Format a large number.

    >>> compact(48_200), compact(1_050_000), compact(0), compact(None)
    ('48.2 K', '1.05 M', '0', '')
    """
    if number is None:
        return ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


def as_plain(
    rows: Sequence[Result], *, baseline: str = BASELINE, published: bool = False
) -> list[dict[str, Any]]:
    """Return the boards as plain data; `baseline` and `published` as in `print_table`."""

    def plain(interval: Interval | None) -> dict[str, Any] | None:
        if interval is None:
            return None
        # Without an interval, the ends may be infinite, which JSON cannot hold.
        ends = {} if interval.half is not None else {"low": None, "high": None}
        return vars(interval) | ends

    return [
        {
            "testset": board.testset,
            "baseline": board.baseline,
            "notes": list(board.notes),
            "rows": [
                {
                    "system": row.result.system,
                    "cost": row.result.cost,
                    "marks": [vars(mark) for mark in row.marks],
                    "comparable": row.comparable,
                    "seeds": row.seeds,
                    "members": list(row.members),
                    "rank": row.rank,
                    "metrics": {
                        metric: {
                            "mean": plain(cell.interval),
                            "change": plain(cell.change),
                            "p": cell.p,
                            "spread": cell.spread,
                            "count": cell.count,
                            "total": cell.total,
                            "version": cell.version,
                            "comparable": cell.comparable,
                            "verdict": cell.verdict,
                            "best": cell.best,
                        }
                        for metric, cell in row.cells.items()
                    },
                }
                for row in board.rows
            ],
            **({"published": [vars(row) for row in published_beside(board)]} if published else {}),
        }
        for board in boards(rows, baseline=baseline)
    ]

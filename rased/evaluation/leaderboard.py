"""Results side by side: which rows compare, what a mean is worth, what must be marked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rased.errors import RasedError
from rased.evaluation import result as results
from rased.evaluation.result import Result
from rased.evaluation.statistics import Interval, bootstrap, paired
from rased.metrics import METRICS

BASELINE = "noisy"
LEGEND = (
    "± half of the 95 % bootstrap interval; ▲ better, ▼ worse than the noisy input (paired); RTF: "
    "processor seconds for a second of audio on one thread; latency all: needs the whole file"
)
_PIPE_WIDTH = 200
_WITHOUT_ENHANCER = {"noisy": 0, "target": 1}


@dataclass(frozen=True)
class Cell:
    """One metric of one system.

    Attributes:
        interval: mean and 95 % interval over the utterances with a value; None without any.
        change: paired difference to the noisy input; None for that input itself, or without it.
        count: utterances with a value.
        total: utterances of the test set.
        version: of the metric.
        comparable: whether the version is that of the other rows, and no utterance is missing.
    """

    interval: Interval | None
    change: Interval | None
    count: int
    total: int
    version: str
    comparable: bool

    @property
    def verdict(self) -> str:
        """What the paired interval says: "better", "worse", or "" where it includes zero."""
        if self.change is None or not self.change.excludes_zero:
            return ""
        return "better" if self.change.mean > 0 else "worse"


@dataclass(frozen=True)
class Row:
    """One system of a board.

    Attributes:
        result: what the row rests on.
        cells: by metric; a metric without any score is absent.
        marks: what a reader must know before comparing, in full sentences.
    """

    result: Result
    cells: dict[str, Cell]
    marks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the system."""
        return self.result.name


@dataclass(frozen=True)
class Board:
    """All systems on one test set.

    Attributes:
        name: of the test set.
        testset: what results say of it.
        metrics: columns.
        rows: the target first, then by the first metric, best first.
    """

    name: str
    testset: dict[str, Any]
    metrics: list[str]
    rows: list[Row]

    def best(self, metric: str) -> float | None:
        """Best mean among systems (the target, and rows that do not compare, aside)."""
        means = [
            cell.interval.mean
            for row in self.rows
            if row.result.system["kind"] != "target"
            and (cell := row.cells.get(metric)) is not None
            and cell.interval is not None
            and cell.comparable
        ]
        if not means:
            return None
        return max(means) if METRICS[metric].direction == "higher" else min(means)


def collect(places: Iterable[str | Path]) -> list[Result]:
    """Load results from files and folders (all *.json in them).

    Raises:
        RasedError: nothing there, an unknown schema, or a file that was changed by hand.
    """
    found: list[Result] = []
    for place in map(Path, places):
        files = sorted(place.glob("*--*.json")) if place.is_dir() else [place]
        if not files:
            raise RasedError(
                f"the folder '{place}' holds no results: make some with `rased evaluate`."
            )
        found += [results.load(file) for file in files]
    return found


def boards(rows: Sequence[Result]) -> list[Board]:
    """Group results by test set; the same name with other files is another board.

    Raises:
        RasedError: two results of one system on one test set.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.testset["name"], row.testset["list_sha256"]), []).append(row)
    names = [name for name, _ in groups]
    return [
        _board(name if names.count(name) == 1 else f"{name} ({digest[:8]})", group)
        for (name, digest), group in groups.items()
    ]


def _board(name: str, group: list[Result]) -> Board:
    systems = [row.name for row in group]
    twice = next((system for system in systems if systems.count(system) > 1), None)
    if twice is not None:
        raise RasedError(f"two results of '{twice}' on '{name}': pass one of them.")
    metrics = [m for m in METRICS if any(m in row.metrics for row in group)]
    usual = {metric: _most(group, metric) for metric in metrics}
    conduct = _conduct(group[0])
    baseline = next((row for row in group if row.system["kind"] == BASELINE), None)
    rows = [_row(row, baseline, metrics, usual, conduct) for row in group]
    return Board(name, group[0].testset, metrics, sorted(rows, key=lambda row: _rank(row, metrics)))


def _rank(row: Row, metrics: Sequence[str]) -> tuple[int, float, str]:
    cell = row.cells.get(metrics[0]) if metrics else None
    first = row.result.system["kind"] != "target"
    if cell is None or cell.interval is None:
        return first, float("inf"), row.name
    sign = -1 if METRICS[metrics[0]].direction == "higher" else 1
    return first, sign * cell.interval.mean, row.name


def _row(
    row: Result,
    baseline: Result | None,
    metrics: Sequence[str],
    usual: dict[str, str],
    conduct: dict[str, Any],
) -> Row:
    cells, marks = {}, []
    for metric in metrics:
        if metric not in row.metrics:
            continue
        cells[metric] = cell = _cell(row, baseline, metric, usual[metric])
        if cell.version != usual[metric]:
            marks.append(
                f"{METRICS[metric].title} by {cell.version}, other rows by {usual[metric]}: "
                "not comparable."
            )
        marks += [f"{METRICS[metric].title}: {text}." for text in _verdicts(row, metric)]
    missing = max((row.missing(metric) for metric in cells), default=0)
    if missing:
        marks.append(f"incomplete, {missing} utterances to go: run the evaluation again.")
    differs = {key: value for key, value in _conduct(row).items() if value != conduct[key]}
    marks += [f"{key}: {value}, other rows: {conduct[key]}." for key, value in differs.items()]
    return Row(row, cells, tuple(marks))


def _cell(row: Result, baseline: Result | None, metric: str, usual: str) -> Cell:
    values = row.values(metric)
    speakers = {utterance.id: utterance.facts.get("speaker") for utterance in row.utterances}
    version = row.protocol["metrics"][metric]["version"]
    interval = None
    if values:
        interval = bootstrap(list(values.values()), [speakers[name] for name in values])
    change = None
    if baseline is not None and baseline is not row and metric in baseline.metrics:
        theirs = baseline.protocol["metrics"][metric]["version"]
        sign = 1 if METRICS[metric].direction == "higher" else -1
        if theirs == version:
            change = paired(
                {name: sign * value for name, value in values.items()},
                {name: sign * value for name, value in baseline.values(metric).items()},
                speakers,
            )
    total = int(row.testset["count"])
    comparable = version == usual and row.missing(metric) == 0
    return Cell(interval, change, len(values), total, version, comparable)


def _verdicts(row: Result, metric: str) -> list[str]:
    """Statuses other than ok, with the number of utterances that have them."""
    statuses = [u.scores[metric].status for u in row.utterances if metric in u.scores]
    return [
        f"{status} ({statuses.count(status)} of {len(statuses)} utterances)"
        for status in dict.fromkeys(statuses)
        if status != "ok"
    ]


def _most(group: Sequence[Result], metric: str) -> str:
    versions = [r.protocol["metrics"][metric]["version"] for r in group if metric in r.metrics]
    return max(sorted(set(versions)), key=versions.count)


def _conduct(row: Result) -> dict[str, Any]:
    return {key: value for key, value in row.protocol.items() if key != "metrics"}


def print_table(rows: Sequence[Result], console: Console | None = None) -> None:
    """Print a table for each test set, with what must be known to read it."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_PIPE_WIDTH)
    for board in boards(rows):
        console.print(_fitting(board, console))
        for number, mark in enumerate(_marks(board), start=1):
            console.print(f"[{number}] {mark}", markup=False, highlight=False, style="yellow")
        console.print(LEGEND, style="dim", highlight=False)


def _marks(board: Board) -> list[str]:
    return list(dict.fromkeys(f"{row.name}: {mark}" for row in board.rows for mark in row.marks))


def _fitting(board: Board, console: Console) -> Table:
    """The widest table that fits: with intervals and costs, without intervals, without both."""
    shapes = ((True, True), (False, True), (False, False))
    tables = [_table(board, intervals=with_, costs_too=costs_) for with_, costs_ in shapes]
    wide = console.options.update(max_width=_PIPE_WIDTH)
    fits = (
        table for table in tables if console.measure(table, options=wide).maximum <= console.width
    )
    return next(fits, tables[-1])


def _table(board: Board, *, intervals: bool, costs_too: bool) -> Table:
    facts = board.testset
    title = f"{board.name}: {facts['count']} utterances, target: {facts['target']}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("system", no_wrap=True)
    for metric in board.metrics:
        heading = METRICS[metric].title.replace(" ", "\n")
        table.add_column(heading, justify="right", no_wrap=True)
    priced = [costs(row.result) for row in board.rows]
    headings = ("para-\nmeters", "MACs\nper s", "RTF", "latency\nms")
    kept = [place for place in range(4) if costs_too and any(price[place] for price in priced)]
    for place in kept:
        table.add_column(headings[place], justify="right", no_wrap=True)
    marks = _marks(board)
    for row in board.rows:
        numbers = [str(marks.index(f"{row.name}: {mark}") + 1) for mark in row.marks]
        name = Text(row.name + (f" [{','.join(numbers)}]" if numbers else ""))
        kind = row.result.system["kind"]
        table.add_row(
            name,
            *[_shown(board, row, metric, intervals) for metric in board.metrics],
            *[costs(row.result)[place] for place in kept],
            style="dim" if kind in _WITHOUT_ENHANCER else None,
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
        text += f" ±{cell.interval.half:.{digits}f}"
    if intervals and cell.count < cell.total:
        text += f" ({cell.count}/{cell.total})"
    text += {"better": " ▲", "worse": " ▼", "": "  "}[cell.verdict if kind_of(row) else ""]
    if not cell.comparable:
        return Text(text, style="strike")
    best = board.best(metric) == cell.interval.mean and kind_of(row)
    colour = {"better": "green", "worse": "red", "": ""}[cell.verdict if kind_of(row) else ""]
    return Text(text, style=f"{'bold ' if best else ''}{colour}".strip())


def kind_of(row: Row) -> str:
    """Kind of the system, "" for the noisy input and the target."""
    kind = str(row.result.system["kind"])
    return "" if kind in _WITHOUT_ENHANCER else kind


def decimals(metric: str) -> int:
    """Digits behind the point that are worth showing."""
    return {"dB": 1, "MOS": 2}.get(METRICS[metric].unit, 3)


def costs(row: Result) -> tuple[str, str, str, str]:
    """Parameters, MACs per second, real-time factor and latency in ms, for a reader."""
    system = row.system
    if system["kind"] in (*_WITHOUT_ENHANCER, "files"):
        return "", "", "", ""
    factor = row.cost["real_time_factor"]
    latency = "all"
    if system["latency"] is not None:
        latency = f"{1000 * system['latency'] / system['sample_rate']:.0f}"
    return (
        compact(system["parameters"]),
        compact(system["macs_per_second"]),
        "" if factor is None else f"{factor:.3f}",
        latency,
    )


def compact(number: int | float | None) -> str:
    """A large number for a reader.

    >>> compact(48_200), compact(1_050_000), compact(0), compact(None)
    ('48.2 K', '1.05 M', '0', '')
    """
    if number is None:
        return ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:g}"


def as_plain(rows: Sequence[Result]) -> list[dict[str, Any]]:
    """The boards as plain data, for programs."""

    def plain(interval: Interval | None) -> dict[str, Any] | None:
        return None if interval is None else vars(interval)

    return [
        {
            "testset": board.testset,
            "rows": [
                {
                    "system": row.result.system,
                    "cost": row.result.cost,
                    "marks": list(row.marks),
                    "metrics": {
                        metric: {
                            "mean": plain(cell.interval),
                            "change": plain(cell.change),
                            "count": cell.count,
                            "total": cell.total,
                            "version": cell.version,
                        }
                        for metric, cell in row.cells.items()
                    },
                }
                for row in board.rows
            ],
        }
        for board in boards(rows)
    ]

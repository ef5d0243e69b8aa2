"""Results side by side: which rows compare, what a difference is worth, what is refused and what must be marked."""

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rased.errors import RasedError, nearest
from rased.evaluation import result as results
from rased.evaluation.result import Result
from rased.evaluation.statistics import (
    Interval,
    bootstrap,
    holm,
    overall_rank,
    paired,
    ranks,
    significance,
)
from rased.metrics import METRICS, Score

BASELINE = "noisy"
ALPHA = 0.05
WITHOUT_ENHANCER = ("noisy", "target")
_LOUDER_DB = 1.0
_LATE_MS = 1.0
_GAMED = (
    ("pesq-wb", ("si-sdr", "stoi", "estoi", "cbak")),
    ("pesq-nb", ("si-sdr", "stoi", "estoi", "cbak")),
)
_DREAMT = (("dnsmos-ovrl", ("wer", "cer", "dwer", "dcer", "speaker-similarity")),)


@dataclass(frozen=True)
class Cell:
    """One metric of one system.

    Attributes:
        interval: mean and 95 % interval over the utterances with a value; None without any.
        change: paired difference to the baseline, positive where it is better; None for the baseline itself, or
            without it.
        p: of that difference, corrected for the number of comparisons on the board (Holm).
        spread: standard deviation of the means of several seeds; None for one.
        count: utterances with a value.
        total: utterances of the test set.
        version: of the metric.
        comparable: whether the version is that of the other rows, and no utterance is missing.
    """

    interval: Interval | None
    change: Interval | None
    p: float | None
    spread: float | None
    count: int
    total: int
    version: str
    comparable: bool

    @property
    def verdict(self) -> str:
        """How it compares with the baseline: "better", "worse", or "" where chance may have done it."""
        if self.change is None or self.p is None or self.p >= ALPHA:
            return ""
        return "better" if self.change.mean > 0 else "worse"


@dataclass(frozen=True)
class Row:
    """One system of a board, or one recipe trained with several seeds.

    Attributes:
        result: what the row rests on; with several seeds the first, with the mean scores of all.
        seeds: number of trainings in the row.
        cells: by metric; a metric without any score is absent.
        marks: what a reader must know before comparing, in full sentences.
        rank: place in the manner of the URGENT challenges over all metrics that every system has; None
            for rows that do not compare.
    """

    result: Result
    seeds: int
    cells: dict[str, Cell]
    marks: tuple[str, ...]
    rank: float | None = None

    @property
    def name(self) -> str:
        """Name of the system."""
        return self.result.name + (f" ({self.seeds} seeds)" if self.seeds > 1 else "")

    @property
    def kind(self) -> str:
        """Kind of the system, "" for the noisy input and the target."""
        kind = str(self.result.system["kind"])
        return "" if kind in WITHOUT_ENHANCER else kind


@dataclass(frozen=True)
class Board:
    """All systems on one test set.

    Attributes:
        name: of the test set.
        testset: what results say of it.
        metrics: columns.
        rows: the target first, then by rank, best first.
        baseline: name of the row that the others are held against; "" where it is not there.
    """

    name: str
    testset: dict[str, Any]
    metrics: list[str]
    rows: list[Row]
    baseline: str

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
        RasedError: nothing there, an unknown schema, a file that was changed by hand, or a system that
            was trained or validated on what it is tested on.
    """
    found: list[Result] = []
    for place in map(Path, places):
        files = sorted(place.glob("*--*.json")) if place.is_dir() else [place]
        if not files:
            raise RasedError(
                f"the folder '{place}' holds no results: make some with `rased evaluate`."
            )
        for file in files:
            row = results.load(file)
            seen = (row.training or {}).get("overlap", ())
            if seen:
                raise RasedError(
                    f"'{file}' has no place beside others: {'; '.join(seen)}. Take it away, or train without them."
                )
            found.append(row)
    return found


def boards(rows: Sequence[Result], *, baseline: str = BASELINE) -> list[Board]:
    """Group results by test set; the same name with other files is another board.

    Args:
        rows: results; trainings of one recipe with several seeds become one row.
        baseline: system that the others are held against.

    Raises:
        RasedError: two results of one system on one test set, or a baseline that is nowhere.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.testset["name"], row.testset["list_sha256"]), []).append(row)
    known = {row.name for row in rows}
    if baseline != BASELINE and baseline not in known:
        raise RasedError(
            f"there is no result of the baseline '{baseline}'; {nearest(baseline, known)}"
        )
    names = [name for name, _ in groups]
    return [
        _board(name if names.count(name) == 1 else f"{name} ({digest[:8]})", group, baseline)
        for (name, digest), group in groups.items()
    ]


def _board(name: str, group: list[Result], baseline: str) -> Board:
    systems = [row.name for row in group]
    twice = next((system for system in systems if systems.count(system) > 1), None)
    if twice is not None:
        raise RasedError(f"two results of '{twice}' on '{name}': pass one of them.")
    metrics = [m for m in METRICS if any(m in row.metrics for row in group)]
    usual = {metric: _most(group, metric) for metric in metrics}
    conduct = _conduct(group[0])
    seeds = _seeds(group)
    held = next((row[0] for row in seeds if row[0].name == baseline), None)
    rows = [_row(row, held, metrics, usual, conduct) for row in seeds]
    rows = _timed_elsewhere(rows)
    rows = _ranked(_corrected(rows), metrics)
    ordered = sorted(rows, key=lambda row: _place(row, metrics))
    return Board(name, group[0].testset, metrics, ordered, "" if held is None else baseline)


def _seeds(group: Sequence[Result]) -> list[list[Result]]:
    """Results of one recipe and one protocol together, where the seeds differ; every other one alone."""
    found: dict[Hashable, list[Result]] = {}
    for row in group:
        recipe = (row.training or {}).get("recipe_sha256")
        key: Hashable = row.name if recipe is None else (recipe, repr(row.protocol))
        others = found.get(key, [])
        if any(
            other.training["seed"] == row.training["seed"]
            for other in others
            if other.training and row.training
        ):
            key = row.name
        found.setdefault(key, []).append(row)
    return list(found.values())


def _mean(seeds: Sequence[Result]) -> Result:
    """The first result, with the scores of each utterance averaged over all of them where each has one."""
    if len(seeds) == 1:
        return seeds[0]
    scores = [{u.id: u.scores for u in row.utterances} for row in seeds]
    merged = []
    for utterance in seeds[0].utterances:
        own = {}
        for metric in utterance.scores:
            each = [of.get(utterance.id, {}).get(metric) for of in scores]
            values = [s.value for s in each if s is not None and s.value is not None]
            if len(values) == len(seeds):
                own[metric] = Score(float(np.mean(values)))
            elif all(s is not None for s in each):
                own[metric] = next(s for s in each if s is not None and s.value is None)
        merged.append(dataclasses.replace(utterance, scores=own))
    return dataclasses.replace(seeds[0], utterances=merged)


def _place(row: Row, metrics: Sequence[str]) -> tuple[int, float, float, str]:
    first = row.result.system["kind"] != "target"
    rank = float("inf") if row.rank is None else row.rank
    cell = row.cells.get(metrics[0]) if metrics else None
    if cell is None or cell.interval is None:
        return first, rank, float("inf"), row.name
    sign = -1 if METRICS[metrics[0]].direction == "higher" else 1
    return first, rank, sign * cell.interval.mean, row.name


def _row(
    seeds: list[Result],
    baseline: Result | None,
    metrics: Sequence[str],
    usual: dict[str, str],
    conduct: dict[str, Any],
) -> Row:
    row = _mean(seeds)
    cells, marks = {}, []
    for metric in metrics:
        if metric not in row.metrics:
            continue
        cells[metric] = cell = _cell(row, seeds, baseline, metric, usual[metric])
        if cell.version != usual[metric]:
            marks.append(
                f"{METRICS[metric].title} by {cell.version}, other rows by {usual[metric]}: "
                "not comparable."
            )
        marks += [f"{METRICS[metric].title}: {text}." for text in _statuses(row, metric)]
    missing = max((row.missing(metric) for metric in cells), default=0)
    if missing:
        marks.append(f"incomplete, {missing} utterances to go: run the evaluation again.")
    differs = {key: value for key, value in _conduct(row).items() if value != conduct[key]}
    marks += [f"{key}: {value}, other rows: {conduct[key]}." for key, value in differs.items()]
    return Row(row, len(seeds), cells, (*marks, *_facts_to_know(row)))


def _timed_elsewhere(rows: Sequence[Row]) -> list[Row]:
    """Rows with a mark where the real-time factor is that of another processor than most."""
    names = [name for row in rows if (name := row.result.cost["processor"]) is not None]
    most = max(dict.fromkeys(names), key=names.count, default=None)
    found = []
    for row in rows:
        name = row.result.cost["processor"]
        mark = f"RTF measured on {name}, other rows: {most}."
        marks = row.marks if name in (None, most) else (*row.marks, mark)
        found.append(dataclasses.replace(row, marks=marks))
    return found


def _facts_to_know(row: Result) -> list[str]:
    """What training and output tell that scores do not."""
    marks = []
    training = row.training
    if training is not None:
        marks += [f"not comparable: {sentence}." for sentence in training["overlap"]]
        marks += [f"{sentence}." for sentence in training["unchecked"]]
        scored = [METRICS[m].title for m in training["optimised"] if m in row.metrics]
        if scored:
            marks.append(f"trained with {' and '.join(scored)} in its loss.")
    if row.system["causal"] is False:
        marks.append("not causal: needs the whole utterance.")
    if row.system["look_ahead"]:
        milliseconds = 1000 * row.system["look_ahead"] / row.system["sample_rate"]
        marks.append(f"looks {milliseconds:.0f} ms ahead.")
    late, louder = (_median(row, name) for name in ("delay_ms", "level_db"))
    if late is not None and abs(late) >= _LATE_MS:
        marks.append(f"{abs(late):.1f} ms {'late' if late > 0 else 'early'} (median).")
    if louder is not None and louder >= _LOUDER_DB:
        marks.append(f"louder than its input by {louder:.1f} dB (median).")
    return marks


def _median(row: Result, name: str) -> float | None:
    found = [value for u in row.utterances if (value := u.measured.get(name)) is not None]
    return float(np.median(found)) if found else None


def _cell(
    row: Result, seeds: Sequence[Result], baseline: Result | None, metric: str, usual: str
) -> Cell:
    values = row.values(metric)
    speakers = {utterance.id: utterance.facts.get("speaker") for utterance in row.utterances}
    version = row.protocol["metrics"][metric]["version"]
    interval = None
    if values:
        interval = bootstrap(list(values.values()), [speakers[name] for name in values])
    change, p = None, None
    if baseline is not None and baseline.name != row.name and metric in baseline.metrics:
        sign = 1 if METRICS[metric].direction == "higher" else -1
        ours = {name: sign * value for name, value in values.items()}
        theirs = {name: sign * value for name, value in baseline.values(metric).items()}
        if baseline.protocol["metrics"][metric]["version"] == version:
            change = paired(ours, theirs, speakers)
        if change is not None:
            both = [name for name in ours if name in theirs]
            p = significance([ours[n] - theirs[n] for n in both], [speakers[n] for n in both])
    means = [np.mean(list(seed.values(metric).values())) for seed in seeds if seed.values(metric)]
    total = int(row.testset["count"])
    return Cell(
        interval=interval,
        change=change,
        p=p,
        spread=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        count=len(values),
        total=total,
        version=version,
        comparable=version == usual and row.missing(metric) == 0,
    )


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """The p values of all cells together, corrected; and what they reveal when seen side by side."""
    corrected = holm(
        {
            (place, metric): cell.p
            for place, row in enumerate(rows)
            for metric, cell in row.cells.items()
            if cell.p is not None
        }
    )
    found = []
    for place, row in enumerate(rows):
        cells = {
            metric: dataclasses.replace(cell, p=corrected.get((place, metric)))
            for metric, cell in row.cells.items()
        }
        marks = (*row.marks, *_at_odds(cells)) if row.kind else row.marks
        found.append(dataclasses.replace(row, cells=cells, marks=marks))
    return found


def _at_odds(cells: Mapping[str, Cell]) -> list[str]:
    """Metrics that a system can win while it gets worse, where it does."""

    def verdict(metric: str) -> str:
        return cells[metric].verdict if metric in cells else ""

    marks = []
    for pairs, why in (
        (_GAMED, "it may have been made for that metric"),
        (_DREAMT, "it may say what nobody said"),
    ):
        for risen, others in pairs:
            fallen = [METRICS[m].title for m in others if verdict(m) == "worse"]
            if verdict(risen) == "better" and fallen:
                marks.append(
                    f"{METRICS[risen].title} is better and {' and '.join(fallen)} worse than the baseline: {why}."
                )
    return marks


def _ranked(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Rows with their places among those that compare."""
    means = {
        number: {m: c.interval.mean for m, c in row.cells.items() if c.comparable and c.interval}
        for number, row in enumerate(rows)
        if row.result.system["kind"] != "target"
    }
    most = max((len(own) for own in means.values()), default=0)
    fair = {str(number): own for number, own in means.items() if len(own) == most}
    common = [m for m in metrics if all(m in own for own in fair.values())]
    if not common or not fair:
        return list(rows)
    places = {
        metric: ranks(
            {name: own[metric] for name, own in fair.items()},
            higher=METRICS[metric].direction == "higher",
        )
        for metric in common
    }
    overall = overall_rank(places, {metric: METRICS[metric].category for metric in common})
    return [dataclasses.replace(row, rank=overall.get(str(n))) for n, row in enumerate(rows)]


def _statuses(row: Result, metric: str) -> list[str]:
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

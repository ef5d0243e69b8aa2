"""Results side by side: means, what a difference is worth, which row is best, and what must be marked."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rased.errors import RasedError, nearest
from rased.evaluation.comparison import gaming
from rased.evaluation.comparison.marks import Mark, facts_to_know
from rased.evaluation.comparison.norm import (
    Norm,
    differences,
    metric_compares,
    norm_of,
    not_shown,
    plain_name,
    row_compares,
    version,
)
from rased.evaluation.comparison.seeds import folded, mean_of
from rased.evaluation.comparison.statistics import (
    ENOUGH_VOICES,
    Interval,
    holm,
    interval,
    overall_rank,
    paired,
    ranks,
    significance,
)
from rased.evaluation.result import Result
from rased.metrics import METRICS

BASELINE = "noisy"
ALPHA = 0.05
WITHOUT_ENHANCER = ("noisy", "target")


@dataclass(frozen=True)
class Cell:
    """One metric of one system.

    Attributes:
        interval: mean and 95 % interval (see `statistics`), over the utterances that all comparable rows have;
            of a row that does not compare, over those with a value; None without any.
        change: paired difference to the baseline, positive where it is better; None for the baseline itself,
            without it, and where one of the two does not compare.
        p: of that difference, corrected (Holm) for the number of systems that are held against the baseline in
            this metric. Metrics are families of their own: each column reads as a study of one metric.
        spread: standard deviation of the means of several seeds; None for one.
        count: utterances with a value.
        total: utterances of the test set.
        version: of the metric.
        comparable: whether protocol, version and utterances are those of the other rows; without it there is
            no rank, no verdict and no best.
        best: whether it is the best mean of all systems, or its paired interval does not tell it from that.
    """

    interval: Interval | None
    change: Interval | None
    p: float | None
    spread: float | None
    count: int
    total: int
    version: str
    comparable: bool
    best: bool = False

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
        members: names of the trainings in the row, one a seed.
        cells: by metric; a metric without any score is absent.
        marks: what a reader must know before comparing.
        comparable: whether its protocol is that of the other rows, and it has not seen the test.
        rank: place in the manner of the URGENT challenges over the metrics that most rows have; None for rows
            of which one of these does not compare, and for the target.
    """

    result: Result
    members: tuple[str, ...]
    cells: dict[str, Cell]
    marks: tuple[Mark, ...]
    comparable: bool
    rank: float | None = None

    @property
    def seeds(self) -> int:
        """Number of trainings in the row."""
        return len(self.members)

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
        notes: what must be known of all rows, in full sentences.
    """

    name: str
    testset: dict[str, Any]
    metrics: list[str]
    rows: list[Row]
    baseline: str
    notes: tuple[str, ...]


def showing(board: Board, columns: Sequence[str]) -> Board:
    """A board with some of its metrics, in this order; ranks stay those over all. No columns: as it is.

    Raises:
        RasedError: a metric that the board has not.
    """
    for name in columns:
        if name not in board.metrics:
            raise RasedError(
                f"no result on '{board.name}' has '{name}'; {nearest(name, board.metrics)}"
            )
    return dataclasses.replace(board, metrics=list(columns)) if columns else board


def boards(rows: Sequence[Result], *, baseline: str = BASELINE) -> list[Board]:
    """Group results by test set; the same name with other files is another board.

    Args:
        rows: results; trainings of one recipe with several seeds become one row.
        baseline: system that the others are held against; any training of a folded row names the row.

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
    recipes = folded(group)
    means = [mean_of(seeds) for seeds in recipes]
    norm = norm_of(means, metrics)
    pairs = list(zip(means, recipes, strict=True))
    held = next((row for row, own in pairs if baseline in [seed.name for seed in own]), None)
    noisy = next((row for row in means if row.system["kind"] == "noisy"), None)
    rows = _timed_elsewhere([_row(row, own, held, noisy, norm) for row, own in pairs])
    rows = _ranked(_with_best(_corrected(rows), norm), metrics)
    ordered = sorted(rows, key=lambda row: _place(row, metrics))
    named = next((row.name for row in rows if row.result is held), "")
    return Board(name, group[0].testset, metrics, ordered, named, _notes(rows, held, noisy, norm))


def _place(row: Row, metrics: Sequence[str]) -> tuple[int, float, float, str]:
    first = row.result.system["kind"] != "target"
    rank = float("inf") if row.rank is None else row.rank
    cell = row.cells.get(metrics[0]) if metrics else None
    if cell is None or cell.interval is None:
        return first, rank, float("inf"), row.name
    sign = -1 if METRICS[metrics[0]].direction == "higher" else 1
    return first, rank, sign * cell.interval.mean, row.name


def _row(
    row: Result, seeds: list[Result], held: Result | None, noisy: Result | None, norm: Norm
) -> Row:
    cells = {metric: _cell(row, seeds, held, metric, norm) for metric in row.metrics}
    marks = [*differences(row, norm), *facts_to_know(seeds)]
    if row.system["kind"] not in WITHOUT_ENHANCER:
        marks += _gaming(row, noisy, norm)
    return Row(
        row, tuple(seed.name for seed in seeds), cells, tuple(marks), row_compares(row, norm)
    )


def _timed_elsewhere(rows: Sequence[Row]) -> list[Row]:
    """Rows with a mark where the real-time factor is that of another processor than most."""
    names = [name for row in rows if (name := row.result.cost["processor"]) is not None]
    most = max(dict.fromkeys(names), key=names.count, default=None)
    found = []
    for row in rows:
        name = row.result.cost["processor"]
        mark = Mark("RTF elsewhere", f"RTF measured on {name}, other rows: {most}.")
        marks = row.marks if name in (None, most) else (*row.marks, mark)
        found.append(dataclasses.replace(row, marks=marks))
    return found


def _gaming(row: Result, noisy: Result | None, norm: Norm) -> list[Mark]:
    """Marks of metrics that contradict one another; the noisy input is what gains are over, whatever the baseline."""
    fair = [metric for metric in row.metrics if metric_compares(row, metric, norm)]
    found: list[Mark] = []
    if noisy is not None and row_compares(noisy, norm):
        both = [m for m in fair if m in noisy.metrics and version(noisy, m) == norm.versions[m]]
        before = {m: float(np.mean([*v.values()])) for m in both if (v := noisy.values(m))}
        gains = gaming.gains_over(noisy, row, list(before))
        found = gaming.at_odds(gains, before)
        if any(METRICS[metric].task for metric in norm.versions):
            found += gaming.unchecked(gains)
    if plain_name(str(row.testset["name"])) == gaming.VOICEBANK_DEMAND:
        means = {metric: float(np.mean([*row.values(metric).values()])) for metric in fair}
        found += [] if any(mark.grave for mark in found) else gaming.too_low(means)
    return found


def _cell(
    row: Result, seeds: Sequence[Result], held: Result | None, metric: str, norm: Norm
) -> Cell:
    comparable = metric_compares(row, metric, norm)
    values = row.values(metric)
    if comparable:
        values = {name: v for name, v in values.items() if name in norm.utterances[metric]}
    speakers = {utterance.id: utterance.facts.get("speaker") for utterance in row.utterances}
    mean = interval(list(values.values()), [speakers[n] for n in values]) if values else None
    change, p = None, None
    if comparable and held is not None and held is not row and _can_be_held(held, metric, norm):
        sign = 1 if METRICS[metric].direction == "higher" else -1
        ours = {name: sign * value for name, value in values.items()}
        theirs = {name: sign * value for name, value in held.values(metric).items()}
        change = paired(ours, theirs, speakers)
        both = [name for name in ours if name in theirs]
        if both and row.system["kind"] != "target":
            p = significance([ours[n] - theirs[n] for n in both], [speakers[n] for n in both])
    each = [[v for name, v in seed.values(metric).items() if name in values] for seed in seeds]
    means = [np.mean(own) for own in each if own]
    return Cell(
        interval=mean,
        change=change,
        p=p,
        spread=float(np.std(means, ddof=1)) if len(means) > 1 else None,
        count=len(values),
        total=int(row.testset["count"]),
        version=version(row, metric),
        comparable=comparable,
    )


def _can_be_held(held: Result, metric: str, norm: Norm) -> bool:
    """Whether others are held against it; it may lack values, as pairs do not need them all."""
    return (
        row_compares(held, norm)
        and metric in held.metrics
        and version(held, metric) == norm.versions[metric]
    )


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """Rows with p values corrected within each metric."""
    raw: dict[str, dict[Hashable, float]] = {}
    for place, row in enumerate(rows):
        for metric, cell in row.cells.items():
            if cell.p is not None:
                raw.setdefault(metric, {})[place] = cell.p
    corrected = {metric: holm(values) for metric, values in raw.items()}
    return [
        _with_cells(row, {m: {"p": own[place]} for m, own in corrected.items() if place in own})
        for place, row in enumerate(rows)
    ]


def _with_best(rows: Sequence[Row], norm: Norm) -> list[Row]:
    """Rows that know where they are the best, or cannot be told from it."""
    found = list(rows)
    for metric, names in norm.utterances.items():
        values = {
            place: {name: v for name, v in row.result.values(metric).items() if name in names}
            for place, row in enumerate(rows)
            if row.result.system["kind"] != "target"
            and metric in row.cells
            and row.cells[metric].comparable
        }
        if not values:
            continue
        sign = 1 if METRICS[metric].direction == "higher" else -1
        top = max(values, key=lambda place: sign * _mean_of(rows[place], metric))
        speakers = {u.id: u.facts.get("speaker") for u in rows[top].result.utterances}
        for place, own in values.items():
            apart = paired(own, values[top], speakers)
            if place == top or (apart is not None and not apart.excludes_zero):
                found[place] = _with_cells(found[place], {metric: {"best": True}})
    return found


def _with_cells(row: Row, changes: Mapping[str, Mapping[str, Any]]) -> Row:
    cells = {m: dataclasses.replace(cell, **changes.get(m, {})) for m, cell in row.cells.items()}
    return dataclasses.replace(row, cells=cells)


def _mean_of(row: Row, metric: str) -> float:
    interval = row.cells[metric].interval
    assert interval is not None, "a comparable cell has values"
    return interval.mean


def _ranked(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Rows with their places; those that lack what most rows are ranked by say so."""
    fair = {
        str(number): [m for m in metrics if m in row.cells and row.cells[m].comparable]
        for number, row in enumerate(rows)
        if row.result.system["kind"] != "target"
    }
    voters = [own for own in fair.values() if own]
    common = [m for m in metrics if 2 * sum(m in own for own in voters) > len(voters)]
    lacking = {number: [m for m in common if m not in own] for number, own in fair.items()}
    places = {
        metric: ranks(
            {n: _mean_of(rows[int(n)], metric) for n, lack in lacking.items() if not lack},
            higher=METRICS[metric].direction == "higher",
        )
        for metric in common
    }
    overall = overall_rank(
        places,
        {metric: METRICS[metric].category for metric in common},
        {metric: METRICS[metric].family or metric for metric in common},
    )
    found = []
    for number, row in enumerate(rows):
        lack = lacking.get(str(number), [])
        if lack and fair[str(number)]:
            titles = " and ".join(METRICS[m].title for m in lack)
            text = f"not ranked: {titles} of most rows compare, and of this one do not."
            row = dataclasses.replace(row, marks=(*row.marks, Mark("not ranked", text)))
        found.append(dataclasses.replace(row, rank=overall.get(str(number))))
    return found


def _notes(
    rows: Sequence[Row], held: Result | None, noisy: Result | None, norm: Norm
) -> tuple[str, ...]:
    """What must be known of all rows."""
    found = not_shown([row.result for row in rows])
    if held is not None and not row_compares(held, norm):
        found.append(f"{held.name} does not compare: nothing is held against it.")
    systems = [row for row in rows if row.kind]
    if systems and (noisy is None or not row_compares(noisy, norm)):
        found.append(
            "Not checked whether metrics contradict one another: "
            "there is no result of the noisy input that compares (rased evaluate noisy ...)."
        )
    opinions = [METRICS[m].title for m in norm.versions if gaming.is_opinion(m)]
    if systems and opinions and not any(METRICS[m].task for m in norm.versions):
        found.append(
            f"{', '.join(opinions)} also rise on what nobody said: neither words nor voices were checked "
            "(rased evaluate --metrics default speaker-similarity dwer)."
        )
    speakers = {u.facts.get("speaker") for row in rows for u in row.result.utterances}
    if speakers == {None}:
        found.append(
            "The test set does not say who speaks: intervals and tests take its utterances as independent."
        )
    elif len(speakers) < ENOUGH_VOICES:
        voices = f"{len(speakers)} voice{'s' * (len(speakers) > 1)}"
        found.append(
            f"{voices}: nothing is claimed about other voices, so that means have no interval; "
            "what is called better, worse or best is so on these recordings."
        )
    return tuple(found)

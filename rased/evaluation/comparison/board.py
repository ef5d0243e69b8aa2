"""Build leaderboards from results: means, significance of differences, best rows, and warning marks."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rased.errors import RasedError, nearest
from rased.evaluation.comparison import gaming
from rased.evaluation.comparison.marks import Mark
from rased.evaluation.comparison.norm import Norm, norm_of, not_shown, row_compares
from rased.evaluation.comparison.rows import Row, row_of
from rased.evaluation.comparison.seeds import folded, mean_of
from rased.evaluation.comparison.statistics import (
    ENOUGH_VOICES,
    holm,
    overall_rank,
    paired,
    ranks,
)
from rased.evaluation.result import Result
from rased.metrics import METRICS

BASELINE = "noisy"


@dataclass(frozen=True)
class Board:
    """All systems on one test set.

    Attributes:
        name: name of the test set.
        testset: facts of the test set, from the results.
        metrics: columns.
        rows: the target first, then by rank, best first.
        baseline: name of the row that others are compared with; "" if it is missing.
        notes: warnings about all rows, in full sentences.
    """

    name: str
    testset: dict[str, Any]
    metrics: list[str]
    rows: list[Row]
    baseline: str
    notes: tuple[str, ...]


def showing(board: Board, columns: Sequence[str]) -> Board:
    """Return a board with only these metrics, in this order (empty: all); ranks are still those over all metrics.

    Raises:
        RasedError: the board does not have a metric.
    """
    for name in columns:
        if name not in board.metrics:
            raise RasedError(
                f"no result on '{board.name}' has the metric '{name}'; {nearest(name, board.metrics)}"
            )
    return dataclasses.replace(board, metrics=list(columns)) if columns else board


def boards(rows: Sequence[Result], *, baseline: str = BASELINE) -> list[Board]:
    """Group results by test set; test sets with the same name and other files get separate boards.

    Args:
        rows: results; runs of one configuration with several seeds become one row.
        baseline: system that the others are compared with; for several seeds, the name of any of the runs.

    Raises:
        RasedError: two results of one system on one test set, or no result of the baseline.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.testset["name"], row.testset["list_sha256"]), []).append(row)
    known = {row.name for row in rows}
    if baseline != BASELINE and baseline not in known:
        raise RasedError(f"no result of the baseline '{baseline}'; {nearest(baseline, known)}")
    names = [name for name, _ in groups]
    return [
        _board(name if names.count(name) == 1 else f"{name} ({digest[:8]})", group, baseline)
        for (name, digest), group in groups.items()
    ]


def _board(name: str, group: list[Result], baseline: str) -> Board:
    systems = [row.name for row in group]
    twice = next((system for system in systems if systems.count(system) > 1), None)
    if twice is not None:
        raise RasedError(f"there are two results of '{twice}' on '{name}': give only one of them.")
    metrics = [m for m in METRICS if any(m in row.metrics for row in group)]
    recipes = folded(group)
    means = [mean_of(seeds) for seeds in recipes]
    norm = norm_of(means, metrics)
    pairs = list(zip(means, recipes, strict=True))
    # The baseline may be any seed of a configuration.
    held = next((row for row, own in pairs if baseline in [seed.name for seed in own]), None)
    noisy = next((row for row in means if row.system["kind"] == "noisy"), None)
    rows = _timed_elsewhere([row_of(row, own, held, noisy, norm) for row, own in pairs])
    rows = _ranked(_with_best(_corrected(rows), norm), metrics)
    ordered = sorted(rows, key=lambda row: _place(row, metrics))
    named = next((row.name for row in rows if row.result is held), "")
    return Board(name, group[0].testset, metrics, ordered, named, _notes(rows, held, noisy, norm))


def _place(row: Row, metrics: Sequence[str]) -> tuple[int, float, float, str]:
    first = row.result.system["kind"] != "target"  # False sorts first: the target
    rank = float("inf") if row.rank is None else row.rank
    cell = row.cells.get(metrics[0]) if metrics else None
    if cell is None or cell.interval is None:
        return first, rank, float("inf"), row.name
    sign = -1 if METRICS[metrics[0]].direction == "higher" else 1
    return first, rank, sign * cell.interval.mean, row.name


def _timed_elsewhere(rows: Sequence[Row]) -> list[Row]:
    """Mark rows whose real-time factor was measured on another processor than that of most rows."""
    names = [name for row in rows if (name := row.result.cost["processor"]) is not None]
    # The first of several that are equally frequent.
    most = max(dict.fromkeys(names), key=names.count, default=None)
    found = []
    for row in rows:
        name = row.result.cost["processor"]
        mark = Mark("RTF elsewhere", f"RTF measured on {name}, other rows: {most}.")
        marks = row.marks if name in (None, most) else (*row.marks, mark)
        found.append(dataclasses.replace(row, marks=marks))
    return found


def _corrected(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with p values corrected within each metric."""
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
    """Return the rows with their best cells marked."""
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
        # Ties with the best are found by paired differences, not by overlapping intervals, which is far too lenient.
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
    """Return the rows with their ranks; rows that lack a metric used for ranking get a mark."""
    fair = {
        str(number): [m for m in metrics if m in row.cells and row.cells[m].comparable]
        for number, row in enumerate(rows)
        if row.result.system["kind"] != "target"
    }
    voters = [own for own in fair.values() if own]
    # A metric that few rows have would leave most rows without a rank.
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
            text = f"not ranked: not comparable with most rows in {titles}."
            row = dataclasses.replace(row, marks=(*row.marks, Mark("not ranked", text)))
        found.append(dataclasses.replace(row, rank=overall.get(str(number))))
    return found


def _notes(
    rows: Sequence[Row], held: Result | None, noisy: Result | None, norm: Norm
) -> tuple[str, ...]:
    """Return the warnings about all rows."""
    found = not_shown([row.result for row in rows])
    if held is not None and not row_compares(held, norm):
        found.append(
            f"{held.name} is not comparable with the other rows, so there are no verdicts."
        )
    systems = [row for row in rows if row.kind]
    if systems and (noisy is None or not row_compares(noisy, norm)):
        found.append(
            "Contradictions between metrics were not checked: "
            "there is no comparable result of the noisy input (rased evaluate noisy ...)."
        )
    opinions = [METRICS[m].title for m in norm.versions if gaming.is_opinion(m)]
    if systems and opinions and not any(METRICS[m].task for m in norm.versions):
        found.append(
            f"{', '.join(opinions)} can rise for speech that was never said: neither words nor speakers were checked "
            "(rased evaluate --metrics default speaker-similarity dwer)."
        )
    speakers = {u.facts.get("speaker") for row in rows for u in row.result.utterances}
    if speakers == {None}:
        found.append(
            "The test set has no speaker labels: intervals and tests treat its utterances as independent."
        )
    elif len(speakers) < ENOUGH_VOICES:
        voices = f"{len(speakers)} speaker{'s' * (len(speakers) > 1)}"
        found.append(
            f"{voices}: too few to generalise to other speakers, so means have no interval; "
            "better, worse and best refer to these recordings only."
        )
    return tuple(found)

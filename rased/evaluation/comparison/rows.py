"""One system on a leaderboard: its mean, interval and difference from the baseline in each metric, and its marks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rased.evaluation.comparison import gaming
from rased.evaluation.comparison.marks import Mark, facts_to_know
from rased.evaluation.comparison.norm import (
    Norm,
    differences,
    metric_compares,
    plain_name,
    row_compares,
    version,
)
from rased.evaluation.comparison.statistics import Interval, interval, paired, significance
from rased.evaluation.result import Result
from rased.metrics import METRICS

ALPHA = 0.05
WITHOUT_ENHANCER = ("noisy", "target")


@dataclass(frozen=True)
class Cell:
    """One metric of one system.

    Attributes:
        interval: mean and 95 % interval (see `statistics`), over the utterances that all comparable rows have;
            for a row that is not comparable, over all its values; None without values.
        change: paired difference from the baseline, positive if better; None for the baseline itself,
            without a baseline, or if one of the two is not comparable.
        p: p value of that difference, corrected (Holm) for the number of systems that are compared with the baseline
            in this metric. Each metric is a family of tests of its own, so each column reads as a separate study.
        spread: standard deviation of the means over several seeds; None for one seed.
        count: number of utterances with a value.
        total: number of utterances in the test set.
        version: version of the metric.
        comparable: protocol, version and utterances are those of the other rows; otherwise there is
            no rank, no verdict and no best.
        best: it has the best mean of all systems, or its paired interval does not distinguish it from the best.
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
        """Return "better" or "worse" than the baseline, or "" if the difference may be chance."""
        if self.change is None or self.p is None or self.p >= ALPHA:
            return ""
        return "better" if self.change.mean > 0 else "worse"


@dataclass(frozen=True)
class Row:
    """One system on a leaderboard, or one configuration trained with several seeds.

    Attributes:
        result: the result; with several seeds the first one, with scores averaged over all.
        members: names of the runs in the row, one per seed.
        cells: cells by metric; a metric without scores is absent.
        marks: warnings to read before comparing.
        comparable: its protocol is that of the other rows, and it was not trained on the test set.
        rank: average rank, as in the URGENT challenges, over the metrics that most rows have; None for the target,
            and for rows that are not comparable in one of these metrics.
    """

    result: Result
    members: tuple[str, ...]
    cells: dict[str, Cell]
    marks: tuple[Mark, ...]
    comparable: bool
    rank: float | None = None

    @property
    def seeds(self) -> int:
        """Return the number of runs in the row."""
        return len(self.members)

    @property
    def name(self) -> str:
        """Return the name of the system."""
        return self.result.name + (f" ({self.seeds} seeds)" if self.seeds > 1 else "")

    @property
    def kind(self) -> str:
        """Return the kind of the system, "" for the noisy input and the target."""
        kind = str(self.result.system["kind"])
        return "" if kind in WITHOUT_ENHANCER else kind


def row_of(
    row: Result, seeds: list[Result], held: Result | None, noisy: Result | None, norm: Norm
) -> Row:
    """Return the row of one or several seeds.

    Args:
        row: the result; with several seeds, with scores averaged over all.
        seeds: the result of each seed.
        held: the baseline; None without one.
        noisy: the noisy input, for gains; None without one.
        norm: what makes rows comparable.
    """
    cells = {metric: _cell(row, seeds, held, metric, norm) for metric in row.metrics}
    marks = [*differences(row, norm), *facts_to_know(seeds)]
    if row.system["kind"] not in WITHOUT_ENHANCER:
        marks += _gaming(row, noisy, norm)
    return Row(
        row, tuple(seed.name for seed in seeds), cells, tuple(marks), row_compares(row, norm)
    )


def _gaming(row: Result, noisy: Result | None, norm: Norm) -> list[Mark]:
    """Return marks for contradictory metrics; gains are over the noisy input, whatever the baseline is."""
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
        # A grave mark from paired gains is better evidence than these limits, and one is enough.
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
        # Signed so that a positive change is better, also for metrics where lower is better.
        sign = 1 if METRICS[metric].direction == "higher" else -1
        ours = {name: sign * value for name, value in values.items()}
        theirs = {name: sign * value for name, value in held.values(metric).items()}
        change = paired(ours, theirs, speakers)
        both = [name for name in ours if name in theirs]
        # The target is no system: testing it would cost the others power in Holm's correction.
        if both and row.system["kind"] != "target":
            p = significance([ours[n] - theirs[n] for n in both], [speakers[n] for n in both])
    # Over the utterances of the cell, so that all seeds are compared on the same ones.
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
    """Return whether this row can serve as the baseline. Missing values are allowed: pairs are compared."""
    return (
        row_compares(held, norm)
        and metric in held.metrics
        and version(held, metric) == norm.versions[metric]
    )

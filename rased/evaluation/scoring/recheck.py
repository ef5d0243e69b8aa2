"""Compute results again: enhance and score some utterances of every system that is available here."""

import csv
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rased.data.testset import GIVEN
from rased.errors import RasedError
from rased.evaluation.result import Result
from rased.evaluation.scoring.own_metrics import OwnMetric, own_among, register
from rased.evaluation.scoring.run import score
from rased.evaluation.scoring.systems import describe, resolve
from rased.evaluation.testset import EvaluationSet, Item, read_testset
from rased.machine import cores
from rased.metrics import METRICS, Score
from rased.parallel import Cluster, in_order

TOLERANCE = 0.01
"""Largest allowed difference of a score, in the unit of its metric: other processors round differently."""

RUNS = Path("runs")


@dataclass(frozen=True)
class Rechecked:
    """Outcome of rechecking one result.

    Attributes:
        system: name of the system.
        testset: name of the test set.
        ids: utterances that were enhanced and scored again.
        scores: number of scores that were compared.
        largest: largest difference.
        problems: one sentence for each score that differs by more than TOLERANCE.
        why_not: why nothing was computed; "" if something was.
    """

    system: str
    testset: str
    ids: tuple[str, ...] = ()
    scores: int = 0
    largest: float = 0.0
    problems: tuple[str, ...] = ()
    why_not: str = ""

    def __str__(self) -> str:
        """Return one line of text."""
        where = f"{self.system} on {self.testset}"
        if self.why_not:
            return f"{where}: not recomputed: {self.why_not}"
        off = f"{len(self.problems)} differ" if self.problems else "none differ"
        return (
            f"{where}: {self.scores} scores of {', '.join(self.ids)} computed again, {off} by more than "
            f"{TOLERANCE:g} (largest difference {self.largest:.5f})"
        )


def recheck(
    rows: Iterable[Result],
    testsets: Sequence[EvaluationSet],
    *,
    count: int,
    random: np.random.Generator,
    jobs: int = 1,
    engine: Cluster | None = None,
) -> list[Rechecked]:
    """Enhance and score utterances of each result again, if its system and test set are available here.

    A system is available if the zoo, the classical methods or runs/ have one of its name with the same weights and
    settings. A metric is compared if its version is the same and its requirements are installed.

    Args:
        rows: results.
        testsets: the available test sets.
        count: number of utterances of each result.
        random: chooses them; it should not be predictable, or a forger could keep just those scores true.
        jobs: results that are computed in parallel, each in a process; 0: one per core.
        engine: a Ray cluster (`rased.parallel.cluster`); None: this machine.
    """
    drawn = []
    for row in rows:
        # Only of the utterances that the result has scores for.
        told = [utterance.id for utterance in row.utterances]
        places = random.permutation(len(told))[:count]
        drawn.append((row, frozenset(told[place] for place in places)))
    own = own_among(tuple(METRICS))
    return list(
        in_order(
            partial(_recheck, testsets=testsets, own=own),
            drawn,
            jobs=min(jobs or cores(), max(1, len(drawn))) if engine is None else jobs,
            workers="processes",
            engine=engine,
            folders=[testset.folder for testset in testsets],
        )
    )


def _recheck(
    drawn: tuple[Result, frozenset[str]],
    *,
    testsets: Sequence[EvaluationSet],
    own: Sequence[OwnMetric],
) -> Rechecked:
    row, ids = drawn
    for metric in own:
        register(metric)
    name = str(row.testset["name"])
    fingerprint = row.testset["list_sha256"]
    testset = next((one for one in testsets if one.list_sha256 == fingerprint), None)
    if testset is None:
        return Rechecked(row.name, name, why_not="its test set is not among those of --on")
    if row.system["kind"] == "files":
        return Rechecked(row.name, name, why_not="its files were made by something else")
    word = str(RUNS / row.name) if row.system["kind"] == "run" else row.name
    try:
        system = resolve(word, testset)
        here = describe(system, testset)
    except RasedError as error:
        return Rechecked(row.name, name, why_not=str(error).rstrip("."))
    # A name proves nothing: only the same weights, settings and code can be expected to give the same scores.
    if here["sha256"] != row.system["sha256"]:
        why = "the system of that name here has other weights, settings or code"
        return Rechecked(row.name, name, why_not=why)
    metrics = [
        metric
        for metric in row.metrics
        if row.protocol["metrics"][metric]["version"] == METRICS[metric].version
        and not METRICS[metric].unavailable()
    ]
    if not metrics or not ids:
        return Rechecked(
            row.name, name, why_not="none of its metrics is available here in the same version"
        )
    # An ordinary evaluation of a smaller test set, so that rechecking has no scoring code of its own.
    with tempfile.TemporaryDirectory() as place:
        some = read_testset(_part(testset, ids, Path(place) / name))
        align = row.protocol["alignment"] != "none"
        (again,) = score(
            [system], some, Path(place) / "results", tuple(metrics), align=align, cost=False
        )
    conduct = [
        {key: value for key, value in each.protocol.items() if key != "metrics"}
        for each in (row, again)
    ]
    if conduct[0] != conduct[1]:
        return Rechecked(row.name, name, why_not="it was scored with another protocol")
    return _compared(row, again, metrics)


def _part(testset: EvaluationSet, ids: Collection[str], folder: Path) -> Path:
    """Create a plain test set of some of the utterances, with links instead of copies."""
    items = [item for item in testset.items if item.id in ids]
    for item in items:
        _link(item, folder)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "text"])
        table.writerows([item.id, item.text or ""] for item in items)
    return folder


def _link(item: Item, folder: Path) -> None:
    given = {f"{GIVEN}/{name}": path for name, path in item.conditions.items()}
    for part, path in {"noisy": item.noisy, "target": item.target, **given}.items():
        if path is not None:
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / f"{item.id}{path.suffix}").symlink_to(path.resolve())


def _compared(row: Result, again: Result, metrics: Sequence[str]) -> Rechecked:
    before = {utterance.id: utterance.scores for utterance in row.utterances}
    largest, count, problems = 0.0, 0, []
    for utterance in again.utterances:
        for metric in metrics:
            told = before[utterance.id].get(metric)
            if told is None or told.status.startswith("unavailable"):
                continue
            found = utterance.scores[metric]
            count += 1
            difference = _difference(told, found)
            largest = max(largest, difference)
            if difference > TOLERANCE:
                problems.append(
                    f"{row.name} on {row.testset['name']}, {utterance.id}: {METRICS[metric].title} is "
                    f"{_words(told)} in the result, but {_words(found)} here"
                )
    return Rechecked(
        row.name,
        str(row.testset["name"]),
        ids=tuple(utterance.id for utterance in again.utterances),
        scores=count,
        largest=largest,
        problems=tuple(problems),
    )


def _difference(told: Score, found: Score) -> float:
    """Return the difference of two scores; infinite if only one of them has a value."""
    if told.value is None or found.value is None:
        # Both None: no value in either, which agrees.
        return 0.0 if told.value is found.value else float("inf")
    return abs(told.value - found.value)


def _words(score: Score) -> str:
    return score.status if score.value is None else f"{score.value:.4f}"

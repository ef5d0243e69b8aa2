"""Run an evaluation: systems x test set x metrics, in parallel processes, resumed after an interruption."""

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rased import audio, machine
from rased.config import config_names, find_config, load_yaml
from rased.errors import RasedError, nearest
from rased.evaluation import result as results
from rased.evaluation.result import Result, Utterance
from rased.evaluation.scoring.batches import Company, company, plan
from rased.evaluation.scoring.cost import UNKNOWN, measure
from rased.evaluation.scoring.jobs import DELAY_LIMIT, SCORING_RATE, Job, Outcome, loaded
from rased.evaluation.scoring.memory import MemoryOf
from rased.evaluation.scoring.own_metrics import is_own, own_among, register_file
from rased.evaluation.scoring.provenance import training_of
from rased.evaluation.scoring.systems import System, describe, resolve
from rased.evaluation.scoring.workers import one_thread, work
from rased.evaluation.testset import EvaluationSet, Item, read_testset
from rased.metrics import METRICS
from rased.parallel import Cluster
from rased.terminal import PlainColumn, open_console

_SAVE_EVERY = 15.0
"""Seconds between two writes of the results while scores arrive."""
_SAME = (
    ("system", "sha256"),
    ("testset", "list_sha256"),
    ("protocol", "sample_rate"),
    ("protocol", "resampler"),
    ("protocol", "alignment"),
    ("protocol", "length"),
)
"""Fields in which an earlier result must agree to be continued."""


def metric_names(words: Sequence[str]) -> tuple[str, ...]:
    """Resolve names of metrics, lists in configs/eval, and FILE.py:CLASS to metric names, without repetition.

    From the part `where_installed` of a list, only installed metrics are used. FILE.py:CLASS is added to METRICS.

    Raises:
        RasedError: an unknown name (the message suggests the nearest), or a file without such a metric.
    """
    lists = [name.partition("/")[2] for name in config_names() if name.startswith("eval/")]
    names: list[str] = []
    for word in words:
        if is_own(word):
            names.append(register_file(word, taken=tuple(lists)))
        elif word in lists:
            listed = load_yaml(find_config(f"eval/{word}"))
            optional = listed.get("where_installed", [])
            names += [*listed["metrics"], *(m for m in optional if not METRICS[m].unavailable())]
        elif word in METRICS:
            names.append(word)
        else:
            raise RasedError(f"unknown metric '{word}'; {nearest(word, [*METRICS, *lists])}")
    return tuple(dict.fromkeys(names))


def evaluate(
    systems: Sequence[str],
    testset: str | Path,
    out: str | Path,
    *,
    metrics: Sequence[str] = ("default",),
    jobs: int = 1,
    save_audio: bool = False,
    align: bool = False,
    allow: Sequence[str] = (),
    engine: Cluster | None = None,
) -> list[Result]:
    """Score systems on a test set and write `<system>--<testset>.json` for each into `out`.

    Finished scores of an earlier call are kept if system, test set and versions of the metrics
    are the same; an interrupted call continues with the next utterance. Progress is shown only on a terminal.

    Args:
        systems: see `systems.resolve`.
        testset: see `testset.read_testset`.
        out: folder of the results.
        metrics: names in METRICS, names of lists in configs/eval, and FILE.py:CLASS for user-defined metrics.
        jobs: number of processes, each with one thread; 0: one per core.
        save_audio: also write `out`/audio/<testset>/<system>/<id>.wav with 16 bits.
        align: remove a delay of the estimate before measuring (the delay is measured and stored in any
            case). This is part of the protocol: rows with and without it are not comparable.
        allow: packages, besides rased, whose classes the systems may use.
        engine: a Ray cluster (`rased.parallel.cluster`); None: this machine. Cost is measured on this machine.

    Raises:
        RasedError: unknown system, metric or test set, or the results cannot be written.
    """
    wanted = metric_names(metrics)
    if not wanted or not systems:
        raise RasedError("nothing to evaluate: give at least one system and one metric.")
    if jobs < 0:
        raise RasedError(f"--jobs is {jobs}; give 1 or more, or 0 for one per core.")
    given = read_testset(testset)
    found = _resolved(systems, given, allow)
    return score(
        found,
        given,
        Path(out),
        wanted,
        jobs=jobs,
        save_audio=save_audio,
        align=align,
        engine=engine,
    )


def score(
    found: Sequence[System],
    given: EvaluationSet,
    folder: Path,
    wanted: tuple[str, ...],
    *,
    jobs: int = 1,
    save_audio: bool = False,
    align: bool = False,
    cost: bool = True,
    engine: Cluster | None = None,
) -> list[Result]:
    """Do what `evaluate` does, with systems, a test set and names of metrics that are known to be right.

    Args:
        found: the systems.
        given: the test set.
        folder: folder of the results.
        wanted: names in METRICS.
        jobs: see `evaluate`.
        save_audio: see `evaluate`.
        align: see `evaluate`.
        cost: measure what the systems cost, too.
        engine: see `evaluate`.
    """
    loaded.cache_clear()  # a run may have been trained further since the last call
    rows = [_begin(system, given, folder, wanted, align) for system in found]
    _warn_of_overlap(rows)
    todo = [
        job
        for system, row in zip(found, rows, strict=True)
        for job in _open_jobs(system, row, given, wanted, folder if save_audio else None, align)
    ]
    by_name = {row.name: row for row in rows}
    with one_thread(), _Writer(rows, given, folder) as writer, _progress(len(todo)) as advance:
        if cost:
            # Before the workers start: they would compete for the processor, and batch_gain decides how they batch.
            _measure_cost(found, by_name, given, writer)
        batches = plan(todo, _batching(rows))
        unweighed = [system for system in found if _unweighed(by_name[system.name])]
        with MemoryOf(unweighed, given.items[0].conditions) as memory:
            folders = [given.folder, folder, *(Path(s.source) for s in found if s.kind == "files")]
            own = own_among(wanted)
            for job, outcome in work(batches, jobs, own, engine=engine, folders=folders):
                _enter(by_name[job.system.name], job.item, outcome)
                writer.tick(job.system.name)
                advance(job.system.name)
            _enter_memory(memory.megabytes(), by_name, writer)
    return rows


def _resolved(systems: Sequence[str], testset: EvaluationSet, allow: Sequence[str]) -> list[System]:
    """Return the systems; names must differ, because they are the names of the result files."""
    found = [resolve(word, testset, allow=allow) for word in dict.fromkeys(systems)]
    names = [system.name for system in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RasedError(f"two systems have the name '{twice}': rename one of the folders.")
    return found


def _warn_of_overlap(rows: Sequence[Result]) -> None:
    for row in rows:
        for sentence in (row.training or {}).get("overlap", ()):
            print(
                f"rased: warning: {row.name} was trained on data of this test set: {sentence}.",
                file=sys.stderr,
            )


def _measure_cost(
    systems: Sequence[System], rows: Mapping[str, Result], testset: EvaluationSet, writer: "_Writer"
) -> None:
    """Measure the real-time factor of systems whose row has none yet; folders of files have no cost."""
    for system in systems:
        row = rows[system.name]
        enhancer = loaded(system) if row.cost["real_time_factor"] is None else None
        if enhancer is not None:
            row.cost |= measure(enhancer, testset)
            writer.tick(row.name)


def _batching(rows: Sequence[Result]) -> dict[str, Company]:
    return {
        row.name: company(causal=row.system["causal"], gain=row.cost["batch_gain"]) for row in rows
    }


def _enter_memory(
    found: Mapping[str, float | None], rows: Mapping[str, Result], writer: "_Writer"
) -> None:
    for name, megabytes in found.items():
        if megabytes is None:
            print(
                f"rased: warning: the memory of {name} is unknown: its process died.",
                file=sys.stderr,
            )
        rows[name].cost["peak_memory_mb"] = megabytes
        writer.tick(name)


def _begin(
    system: System, testset: EvaluationSet, folder: Path, metrics: tuple[str, ...], align: bool
) -> Result:
    """Return the result to continue: that of an earlier call, as far as it is still valid."""
    fresh = _fresh(system, testset, metrics, align)
    path = folder / results.file_name(system.name, testset.name)
    if not path.is_file():
        return fresh
    try:
        earlier = results.load(path)
    except RasedError as error:
        print(f"rased: {error} Starting over.", file=sys.stderr)
        return fresh
    agree = all(
        getattr(earlier, part).get(key) == getattr(fresh, part).get(key) for part, key in _SAME
    )
    return _continued(fresh, earlier, testset) if agree else fresh


def _fresh(system: System, testset: EvaluationSet, metrics: tuple[str, ...], align: bool) -> Result:
    """Return a result without scores."""
    return Result(
        system=describe(system, testset),
        testset={
            "name": testset.name,
            "count": len(testset.items),
            "sample_rate": testset.sample_rate,
            "target": testset.target,
            "list_sha256": testset.list_sha256,
        },
        training=training_of(system, testset),
        protocol={
            "sample_rate": SCORING_RATE,
            "resampler": _resampler(testset.sample_rates),
            "alignment": f"delays up to {DELAY_LIMIT:g} s taken out" if align else "none",
            "length": "cut or zero-padded to the target",
            "metrics": {name: METRICS[name].declaration() for name in METRICS if name in metrics},
        },
        cost=dict(UNKNOWN),
        environment=machine.environment(),
        created=machine.now(),
        utterances=[],
    )


def _continued(fresh: Result, earlier: Result, testset: EvaluationSet) -> Result:
    """Return `fresh` with the scores of an earlier call that the same metric would give again."""
    for name, declared in earlier.protocol["metrics"].items():
        if name in METRICS and declared["version"] == METRICS[name].version:
            fresh.protocol["metrics"].setdefault(name, declared)
    there = {item.id for item in testset.items}
    for utterance in earlier.utterances:
        if utterance.id not in there:
            continue
        kept = {
            name: score
            for name, score in utterance.scores.items()
            # A package that was missing then may be installed now.
            if not score.status.startswith("unavailable")
            and name in fresh.protocol["metrics"]
            and earlier.protocol["metrics"][name] == fresh.protocol["metrics"][name]
        }
        fresh.utterances.append(dataclasses.replace(utterance, scores=kept))
    fresh.cost, fresh.created = earlier.cost, earlier.created
    return fresh


def _open_jobs(
    system: System,
    row: Result,
    testset: EvaluationSet,
    metrics: tuple[str, ...],
    folder: Path | None,
    align: bool,
) -> Iterator[Job]:
    done = {utterance.id: utterance.scores for utterance in row.utterances}
    for item in testset.items:
        missing = tuple(name for name in metrics if name not in done.get(item.id, {}))
        save = None
        if folder is not None:
            save = folder / "audio" / testset.name / system.name / f"{item.id}.wav"
            # Audio of an earlier call is kept only together with its scores: otherwise it may be that of an older
            # system.
            save = None if save.is_file() and item.id in done else save
        if missing or save is not None:
            seconds = audio.inspect(item.noisy).seconds or 0.0
            yield Job(system, item, seconds, missing, save, align)


def _enter(row: Result, item: Item, outcome: Outcome) -> None:
    utterance = next((u for u in row.utterances if u.id == item.id), None)
    if utterance is None:
        utterance = Utterance(item.id, round(outcome.seconds, 4), dict(item.facts))
        row.utterances.append(utterance)
    utterance.scores.update(outcome.scores)
    utterance.measured.update(outcome.measured)


def _unweighed(row: Result) -> bool:
    return row.cost["real_time_factor"] is not None and row.cost["peak_memory_mb"] is None


def _resampler(sample_rates: Sequence[int]) -> str:
    """Describe how files were resampled to the scoring rate; "none" if all have it."""
    others = [str(rate) for rate in sample_rates if rate != SCORING_RATE]
    if not others:
        return "none"
    from soxr import __version__ as version

    return f"soxr {version} HQ, {' and '.join(others)} to {SCORING_RATE} Hz"


class _Writer:
    """Saves results: regularly, when a system is finished, and on exit."""

    def __init__(self, rows: list[Result], testset: EvaluationSet, folder: Path) -> None:
        self._rows = {row.name: row for row in rows}
        self._order = {item.id: place for place, item in enumerate(testset.items)}
        self._testset = testset
        self._folder = folder
        self._changed: set[str] = set()
        self._saved = time.monotonic()  # not the time of day, which may be set back

    def __enter__(self) -> "_Writer":
        for name in self._rows:
            self._save(name)
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def tick(self, name: str) -> None:
        """Note that a row has new scores."""
        self._changed.add(name)
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self._flush()

    def _flush(self) -> None:
        for name in sorted(self._changed):
            self._save(name)
        self._changed.clear()
        self._saved = time.monotonic()

    def _save(self, name: str) -> None:
        row = self._rows[name]
        # Scores arrive in the order in which processes finish.
        row.utterances.sort(key=lambda utterance: self._order[utterance.id])
        results.save(row, self._folder / results.file_name(name, self._testset.name))


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    console = open_console(stderr=True)
    columns = (
        PlainColumn("evaluating {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        PlainColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda name: progress.update(task, advance=1, description=name)

"""System x test set x metrics -> results: in parallel processes, resumed where it was interrupted."""

import dataclasses
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rased import audio
from rased.config import config_names, find_config, load_yaml
from rased.errors import RasedError, nearest
from rased.evaluation import result as results
from rased.evaluation.result import Result, Utterance
from rased.evaluation.systems import System, describe, resolve
from rased.evaluation.testset import EvaluationSet, Item, audio_files, read_audio, read_testset
from rased.evaluation.training import training_of
from rased.metrics import METRICS, Score
from rased.models.base import Enhancer
from rased.signal.alignment import delay, undelay
from rased.signal.levels import rms

SCORING_RATE = 16_000
SLACK = 0.1
"""Seconds by which a file that something else has enhanced may be longer or shorter."""

DELAY_LIMIT = 0.25
"""Largest delay of an estimate that is looked for, in seconds."""

_SAVE_EVERY = 15.0
_KEPT = 4
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One utterance through one system.

    Attributes:
        system: what enhances.
        item: what is enhanced.
        metrics: names of what is measured.
        save: where the estimate goes; None: nowhere.
        align: whether a delay of the estimate is taken out before it is measured.
    """

    system: System
    item: Item
    metrics: tuple[str, ...]
    save: Path | None
    align: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        seconds: length of the utterance.
        scores: by metric.
        processor_seconds: for enhancing alone; 0 where nothing was computed.
        measured: see `Utterance`.
    """

    seconds: float
    scores: dict[str, Score] = field(default_factory=dict)
    processor_seconds: float = 0.0
    measured: dict[str, float | None] = field(default_factory=dict)


def metric_names(words: Sequence[str]) -> tuple[str, ...]:
    """Names of metrics from names of metrics and of lists in configs/eval, in order, once each.

    Of `where_installed` in a list only what can be measured here is taken.

    Raises:
        RasedError: a word that is neither; with the nearest.
    """
    lists = [name.partition("/")[2] for name in config_names() if name.startswith("eval/")]
    names: list[str] = []
    for word in words:
        if word in lists:
            listed = load_yaml(find_config(f"eval/{word}"))
            optional = listed.get("where_installed", [])
            names += [*listed["metrics"], *(m for m in optional if not METRICS[m].unavailable())]
        elif word in METRICS:
            names.append(word)
        else:
            raise RasedError(f"there is no metric '{word}'; {nearest(word, [*METRICS, *lists])}")
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
) -> list[Result]:
    """Score systems on a test set and write `<system>--<testset>.json` for each into `out`.

    What an earlier call has finished is kept where system, test set and versions of the metrics
    agree; an interrupted call continues with the next utterance. Progress goes to a terminal alone.

    Args:
        systems: see `systems.resolve`.
        testset: see `testset.read_testset`.
        out: folder of the results.
        metrics: names in METRICS and of lists in configs/eval.
        jobs: processes, each with one thread.
        save_audio: also write `out`/audio/<testset>/<system>/<id>.wav, 16 bits.
        align: take a delay of the estimate out before it is measured (it is measured and kept in any
            case); part of the protocol: rows with and without do not compare.

    Raises:
        RasedError: unknown system, metric or test set, or a place that cannot be written.
    """
    wanted = metric_names(metrics)
    if not wanted or not systems:
        raise RasedError("nothing to evaluate: name at least one system and one metric.")
    if jobs < 1:
        raise RasedError(f"{jobs} processes cannot evaluate: give 1 or more.")
    given = read_testset(testset)
    found = [resolve(word, given) for word in dict.fromkeys(systems)]
    names = [system.name for system in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RasedError(f"two systems are called '{twice}': rename one of the folders.")

    folder = Path(out)
    rows = [_begin(system, given, folder, wanted, align) for system in found]
    for row in rows:
        for sentence in (row.training or {}).get("overlap", ()):
            print(f"rased: warning: {row.name} has seen this test: {sentence}.", file=sys.stderr)
    todo = [
        job
        for system, row in zip(found, rows, strict=True)
        for job in _open_jobs(system, row, given, wanted, folder if save_audio else None, align)
    ]
    by_name = {row.name: row for row in rows}
    with _Writer(rows, given, folder) as writer, _progress(len(todo)) as advance:
        for job, outcome in _work(todo, jobs):
            _enter(by_name[job.system.name], job.item, outcome)
            writer.tick(job.system.name)
            advance(job.system.name)
    return rows


def _begin(
    system: System, testset: EvaluationSet, folder: Path, metrics: tuple[str, ...], align: bool
) -> Result:
    """The result so far: what an earlier call left, as far as it still holds."""
    fresh = Result(
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
            "resampler": _resampler(testset.sample_rate),
            "alignment": f"delays up to {DELAY_LIMIT:g} s taken out" if align else "none",
            "length": "cut or zero-padded to the target",
            "metrics": {name: METRICS[name].declaration() for name in METRICS if name in metrics},
        },
        cost={"processor_seconds": 0.0, "audio_seconds": 0.0, "real_time_factor": None},
        environment=results.environment(),
        created=results.now(),
        utterances=[],
    )
    path = folder / results.file_name(system.name, testset.name)
    if not path.is_file():
        return fresh
    try:
        earlier = results.load(path)
    except RasedError as error:
        print(f"rased: {error} Starting over.", file=sys.stderr)
        return fresh
    agree = all(
        getattr(earlier, part).get(key) == getattr(fresh, part).get(key)
        for part, key in (
            ("system", "sha256"),
            ("testset", "list_sha256"),
            ("protocol", "sample_rate"),
            ("protocol", "resampler"),
            ("protocol", "alignment"),
            ("protocol", "length"),
        )
    )
    if not agree:
        return fresh
    for name, declared in earlier.protocol["metrics"].items():
        if name in METRICS and declared["version"] == METRICS[name].version:
            fresh.protocol["metrics"].setdefault(name, declared)
    for utterance in earlier.utterances:
        kept = {
            name: score
            for name, score in utterance.scores.items()
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
            save = None if save.is_file() and item.id in done else save
        if missing or save is not None:
            yield Job(system, item, missing, save, align)


def _enter(row: Result, item: Item, outcome: Outcome) -> None:
    utterance = next((u for u in row.utterances if u.id == item.id), None)
    if utterance is None:
        utterance = Utterance(item.id, round(outcome.seconds, 4), dict(item.facts))
        row.utterances.append(utterance)
    utterance.scores.update(outcome.scores)
    utterance.measured.update(outcome.measured)
    if outcome.processor_seconds:
        cost = row.cost
        cost["processor_seconds"] = round(cost["processor_seconds"] + outcome.processor_seconds, 4)
        cost["audio_seconds"] = round(cost["audio_seconds"] + outcome.seconds, 4)
        cost["real_time_factor"] = round(cost["processor_seconds"] / cost["audio_seconds"], 5)


def _resampler(sample_rate: int) -> str:
    if sample_rate == SCORING_RATE:
        return "none"
    from soxr import __version__ as version

    return f"soxr {version} HQ, {sample_rate} to {SCORING_RATE} Hz"


def _work(todo: Sequence[Job], jobs: int) -> Iterator[tuple[Job, Outcome]]:
    """Outcomes as they come; here with one process, else in `jobs` of them."""
    if jobs == 1 or len(todo) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for job in todo:
                yield job, perform(job)
        finally:
            torch.set_num_threads(threads)
        return
    with _single_threaded_children():
        pool = ProcessPoolExecutor(
            min(jobs, len(todo)), mp_context=get_context("spawn"), initializer=_initialise
        )
        waiting: dict[Future[Outcome], Job] = {pool.submit(perform, job): job for job in todo}
        try:
            while waiting:
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool:
            raise RasedError(
                "a process of the evaluation died (out of memory?): what was finished is kept; run "
                "the same command again, with fewer --jobs."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _initialise() -> None:
    """In a new process: one thread, and Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@torch.inference_mode()
def perform(job: Job) -> Outcome:
    """Enhance one utterance and measure it."""
    target = None
    if job.item.target is not None:
        target = read_audio(job.item.target, sample_rate=SCORING_RATE)
    try:
        estimate, seconds = _estimate(job)
        if target is not None:
            estimate = _fit(estimate, target, job)
    except RasedError as error:
        if job.system.kind != "files":
            raise
        # Somebody else's output may be anything; it has no score, and says why.
        length = 0 if target is None else len(target)
        verdict = Score(None, f"undefined: {error}")
        return Outcome(length / SCORING_RATE, dict.fromkeys(job.metrics, verdict))
    if job.save is not None:
        audio.write(job.save, estimate[None], SCORING_RATE)
    heard, wanted = torch.from_numpy(estimate), None if target is None else torch.from_numpy(target)
    measured, late = _measured(heard, wanted, job)
    if job.align and late:
        heard = undelay(heard, late)
    scores = {name: _score(name, heard, wanted, job.item.text) for name in job.metrics}
    return Outcome(len(estimate) / SCORING_RATE, scores, seconds, measured)


def _measured(
    estimate: Float32[torch.Tensor, " time"],
    target: Float32[torch.Tensor, " time"] | None,
    job: Job,
) -> tuple[dict[str, float | None], int | None]:
    """See `Utterance.measured`, and the delay in samples."""
    noisy = torch.from_numpy(read_audio(job.item.noisy, sample_rate=SCORING_RATE))
    length = min(len(noisy), len(estimate))
    reference = noisy[:length] if target is None else target[:length]
    limit = round(DELAY_LIMIT * SCORING_RATE)
    late = delay(estimate=estimate[:length], reference=reference, limit=limit)
    levels = [float(rms(waveform)) for waveform in (estimate, noisy)]
    louder = 20 * math.log10(levels[0] / levels[1]) if min(levels) > 0 else None
    milliseconds = None if late is None else 1000 * late / SCORING_RATE
    return {
        "delay_ms": milliseconds,
        "level_db": None if louder is None else round(louder, 2),
    }, late


def _estimate(job: Job) -> tuple[Float32[np.ndarray, " time"], float]:
    """The estimate at the scoring rate, and the processor seconds that enhancing took."""
    if job.system.kind == "target":
        assert job.item.target is not None
        return read_audio(job.item.target, sample_rate=SCORING_RATE), 0.0
    if job.system.kind == "files":
        path = audio_files(Path(job.system.source))[job.item.id]
        return read_audio(path, sample_rate=SCORING_RATE), 0.0
    enhancer = _loaded(job.system)
    if enhancer is None:
        return read_audio(job.item.noisy, sample_rate=SCORING_RATE), 0.0
    noisy = torch.from_numpy(read_audio(job.item.noisy, sample_rate=enhancer.sample_rate))
    start = time.thread_time()
    estimate = enhancer(noisy[None])
    seconds = time.thread_time() - start
    at_rate = audio.resample(estimate.numpy(), enhancer.sample_rate, SCORING_RATE)
    return at_rate[0], seconds


def _fit(
    estimate: Float32[np.ndarray, " time"], target: Float32[np.ndarray, " target_time"], job: Job
) -> Float32[np.ndarray, " target_time"]:
    difference = len(estimate) - len(target)
    if abs(difference) > SLACK * SCORING_RATE:
        raise RasedError(
            f"the estimate of '{job.item.id}' by '{job.system.name}' has {len(estimate)} samples and "
            f"its target {len(target)}: align them first."
        )
    return np.pad(estimate, (0, max(0, -difference)))[: len(target)]


def _score(
    name: str, estimate: torch.Tensor, target: torch.Tensor | None, text: str | None
) -> Score:
    ours = METRICS[name]
    if ours.needs_reference and target is None:
        return Score(None, "unavailable: the test set has no target")
    if ours.needs_text and text is None:
        return Score(None, "unavailable: the test set does not say what is said (a column `text`)")
    return ours(estimate=estimate, target=target, text=text, sample_rate=SCORING_RATE)


@lru_cache(maxsize=_KEPT)
def _loaded(system: System) -> Enhancer | None:
    return system.load()


class _Writer:
    """Keeps results on disk: now and then, when a system is finished, and on the way out."""

    def __init__(self, rows: list[Result], testset: EvaluationSet, folder: Path) -> None:
        self._rows = {row.name: row for row in rows}
        self._order = {item.id: place for place, item in enumerate(testset.items)}
        self._testset = testset
        self._folder = folder
        self._changed: set[str] = set()
        self._saved = time.monotonic()

    def __enter__(self) -> "_Writer":
        for name in self._rows:
            self._save(name)
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def tick(self, name: str) -> None:
        """Note that a row has grown."""
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
        row.utterances.sort(key=lambda utterance: self._order[utterance.id])
        results.save(row, self._folder / results.file_name(name, self._testset.name))


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (
        TextColumn("evaluating {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda name: progress.update(task, advance=1, description=name)

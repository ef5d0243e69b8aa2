"""Run batches in several processes, each of which takes the next batch when it is free; or on a Ray cluster."""

import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from rased.errors import RasedError
from rased.evaluation.scoring.jobs import Job, JobBatch, Outcome, loaded, perform
from rased.evaluation.scoring.own_metrics import OwnMetric, register
from rased.machine import ONE_THREAD, cores
from rased.parallel import Cluster, in_order


def work(
    batches: Sequence[JobBatch],
    jobs: int,
    own: Sequence[OwnMetric] = (),
    *,
    engine: Cluster | None = None,
    folders: Sequence[Path] = (),
) -> Iterator[tuple[Job, Outcome]]:
    """Yield outcomes as they arrive, from `jobs` processes including this one.

    On a cluster, they come in the order of the batches.

    Args:
        batches: the work.
        jobs: number of processes.
        own: metrics from files, which the other processes must load, too.
        engine: a Ray cluster; None: this machine.
        folders: what the nodes of the cluster must see.

    Raises:
        RasedError: a process died, or raised an error.
    """
    if engine is not None:
        task = partial(perform_elsewhere, own=tuple(own), call=secrets.token_hex(8))
        results = in_order(task, batches, jobs=jobs, engine=engine, folders=folders)
        for done, outcomes in zip(batches, results, strict=True):
            yield from zip(done, outcomes, strict=True)
        return
    with _Helpers(batches, min(jobs or cores(), len(batches)) - 1, own) as helpers:
        while (batch := helpers.take()) is not None:
            for job, outcome in zip(batch, perform(batch), strict=True):
                yield job, outcome
                yield from helpers.outcomes(timeout=0.0)  # whatever has arrived, without waiting
        while helpers.busy:
            yield from helpers.outcomes(timeout=None)


def perform_elsewhere(batch: JobBatch, *, own: Sequence[OwnMetric], call: str) -> list[Outcome]:
    """Perform a batch in a worker of a cluster."""
    _begin(call)
    for metric in own:
        register(metric)
    return list(perform(batch))


@lru_cache(maxsize=1)
def _begin(call: str) -> None:
    """Prepare a worker for a call of `work`: a run may have been trained further since the last one."""
    torch.set_num_threads(1)
    loaded.cache_clear()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit all numerical libraries to one thread, here and in processes that are started."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    threads = torch.get_num_threads()
    os.environ.update(ONE_THREAD)
    torch.set_num_threads(1)
    try:
        # numpy has read the variables at its import; only this limits its threads in the running process.
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Helpers:
    """Other processes that work on the same batches; a shared counter gives each free process the next batch."""

    def __init__(self, batches: Sequence[JobBatch], count: int, own: Sequence[OwnMetric]) -> None:
        # Forking a process with PyTorch threads can deadlock in the child.
        context = get_context("spawn")
        self._batches = batches
        self._taken = context.Value("q", 0)
        self._processes: dict[Connection, Any] = {}
        for _ in range(count):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_help, args=(batches, self._taken, theirs, own), daemon=True
            )
            process.start()
            theirs.close()  # otherwise its end of the pipe stays open here, and a death is never noticed
            self._processes[ours] = process

    def __enter__(self) -> "_Helpers":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in self._processes.items():
            process.terminate()
            process.join()
            pipe.close()

    @property
    def busy(self) -> bool:
        """Return whether any process may still send something."""
        return bool(self._processes)

    def take(self) -> JobBatch | None:
        """Take the next unassigned batch."""
        return _take(self._batches, self._taken)

    def outcomes(self, timeout: float | None) -> Iterator[tuple[Job, Outcome]]:
        """Yield the outcomes that have arrived; with None, wait for at least one."""
        while ready := wait(list(self._processes), timeout):
            for pipe in ready:
                assert isinstance(pipe, Connection)
                try:
                    said = pipe.recv()
                except EOFError:
                    self._leave(pipe)
                    continue
                if isinstance(said, RasedError):
                    raise said
                # Only numbers and outcomes are sent: this process has the jobs already.
                batch, place, outcome = said
                yield self._batches[batch][place], outcome
            if timeout is None:
                return

    def _leave(self, pipe: Connection) -> None:
        process = self._processes.pop(pipe)
        process.join()
        pipe.close()
        if process.exitcode:
            raise RasedError(
                "a process of the evaluation died (out of memory?): finished scores are kept; run "
                "the same command again, with fewer --jobs."
            )


def _take(batches: Sequence[JobBatch], taken: Any) -> JobBatch | None:
    number = _number(len(batches), taken)
    return None if number is None else batches[number]


def _number(count: int, taken: Any) -> int | None:
    with taken.get_lock():
        number = int(taken.value)
        taken.value = min(number + 1, count)  # stops at `count`
    return number if number < count else None


def _help(
    batches: Sequence[JobBatch], taken: Any, pipe: Connection, own: Sequence[OwnMetric]
) -> None:
    """Run in a new process: one thread, and Ctrl-C is handled by the parent."""
    # The terminal sends Ctrl-C to all processes; only the parent saves and reports.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        for metric in own:
            register(metric)
        while (number := _number(len(batches), taken)) is not None:
            for place, outcome in enumerate(perform(batches[number])):
                pipe.send((number, place, outcome))
    except RasedError as error:
        pipe.send(error)

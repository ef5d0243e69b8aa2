"""Run a function in parallel on this machine and return the results in the order of the items."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Literal, TypeVar

from rased.errors import RasedError
from rased.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int | None = None,
    engine: Literal["threads", "processes"] = "threads",
) -> Iterator[Result]:
    """Yield function(item) in the order of the items; at most two items per worker are pending, so memory is bounded.

    Args:
        function: applied to each item; must be picklable with processes.
        items: read lazily.
        jobs: number of workers; None: one per core. With one process, the work runs in the calling process.
        engine: threads for work that releases the GIL (decoding, compression), processes for other work.

    Raises:
        RasedError: a worker process was killed.
    """
    jobs, items = jobs or cores(), iter(items)
    # A spawned process costs seconds of imports, which one worker does not win back.
    if jobs == 1 and engine == "processes":
        yield from map(function, items)
        return
    with _pool(jobs, engine) as pool:
        waiting: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in islice(items, 2 * jobs)
        )
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        except BrokenProcessPool as error:
            raise RasedError(
                "A worker process was killed (out of memory?). Finished work is kept: run the same "
                "command again, with fewer --jobs."
            ) from error
        finally:
            # Also when the caller stops iterating early: the generator is closed, and pending work must not go on.
            pool.shutdown(wait=True, cancel_futures=True)


def _pool(jobs: int, engine: Literal["threads", "processes"]) -> Executor:
    if engine == "threads":
        return ThreadPoolExecutor(jobs)
    # Forking a process that has threads can deadlock in the child: spawn starts a new interpreter instead.
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))

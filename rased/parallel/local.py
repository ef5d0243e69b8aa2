"""Run a function in threads or processes of this machine, or once in a fork."""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Literal, TypeVar, cast

from rased.errors import RasedError, cut
from rased.machine import cores

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int | None,
    workers: Literal["threads", "processes"],
) -> Iterator[Result]:
    """Do what `rased.parallel.in_order` does, on this machine."""
    jobs, items = jobs or cores(), iter(items)
    # A spawned process costs seconds of imports, which one worker does not win back.
    if jobs == 1 and workers == "processes":
        yield from map(function, items)
        return
    with _pool(jobs, workers, function) as pool:
        # A process has the function already: it may hold the index of a corpus.
        call: Callable[[Item], Result] = function if workers == "threads" else _call
        waiting: deque[Future[Result]] = deque(
            pool.submit(call, item) for item in islice(items, 2 * jobs)
        )
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(call, item) for item in islice(items, 1))
        except BrokenProcessPool as error:
            raise RasedError(
                "A worker process was killed (out of memory?). Finished work is kept: run the same "
                "command again, with fewer --jobs."
            ) from error
        finally:
            # Also when the caller stops iterating early: the generator is closed, and pending work must not go on.
            pool.shutdown(wait=True, cancel_futures=True)


def forked(function: Callable[..., Result], *arguments: Any) -> Result:
    """Return function(*arguments) from a fork of this process, which has its imports and a peak of memory of its own.

    Where the system cannot fork, a new process imports everything again. What the function prints goes to stderr.

    Raises:
        RasedError: the process died, or the function raised an error.
    """
    ways = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("fork" if "fork" in ways else "spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, function, arguments))
    process.start()
    theirs.close()  # otherwise its end of the pipe stays open here, and a death is never noticed
    try:
        error, result = ours.recv()
    except EOFError:
        error, result = "its process died (out of memory?)", None
    finally:
        ours.close()
        process.join()
    if error:
        raise RasedError(f"{error}.")
    return cast(Result, result)


def _send(pipe: Any, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    # The parent may print one figure per line on standard output, where other people's models must not print.
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        pipe.send(("", function(*arguments)))
    except Exception as error:
        pipe.send((f"{type(error).__name__}: {cut(str(error))}".rstrip("."), None))


def _pool(
    jobs: int, workers: Literal["threads", "processes"], function: Callable[[Any], Any]
) -> Executor:
    if workers == "threads":
        return ThreadPoolExecutor(jobs)
    return ProcessPoolExecutor(
        jobs,
        # Forking a process that has threads can deadlock in the child: spawn starts a new interpreter instead.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_receive,
        initargs=(function, max(1, cores() // jobs)),
    )


_received: Callable[[Any], Any]


def _receive(function: Callable[[Any], Any], threads: int) -> None:
    """Keep the function of a pool in one of its processes, which gets its share of the cores."""
    global _received
    _received = function
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def _call(item: Any) -> Any:
    return _received(item)

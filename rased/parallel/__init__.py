"""Run a function in parallel, here or on a Ray cluster, and return the results in the order of the items."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from rased.parallel.local import forked
from rased.parallel.local import in_order as _in_order_here
from rased.parallel.ray_cluster import Cluster, cluster, whole

__all__ = ["Cluster", "cluster", "forked", "in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int | None = None,
    workers: Literal["threads", "processes"] = "threads",
    engine: Cluster | None = None,
    share: Callable[[Item], float] = whole,
    folders: Sequence[Path] = (),
) -> Iterator[Result]:
    """Yield function(item) in the order of the items; at most two tasks per worker are pending, so memory is bounded.

    On a cluster, a task is lost when its node dies. It is repeated, so the function must give the same for the same
    item, and write a file by `rased.disk.replacing`. Results pass through this process, so they should be small. The
    tasks of the commands:

    - `rased data pack` and `prepare`: some files. The result is their encoded audio, because where a shard ends depends
      on the size of all before; this process writes the shards.
    - `rased data rooms`: a room. The result is its encoded responses, some kilobytes; this process writes the shards.
    - `rased data frames`: a few thousand frames. The result is their features; this process writes the one file.
    - `rased data freeze`, and the test set of `prepare`: a mixture. The task writes its files; the result is the facts.
    - `rased evaluate`: a batch of utterances. The task saves its estimates; the result is the scores.
    - `rased leaderboard --recheck`: one result, scored again.

    Args:
        function: applied to each item; must be picklable, except with threads.
        items: read lazily.
        jobs: number of workers; None or 0: one per core, or per CPU of the cluster. With one local process, the work
            runs in the calling process.
        workers: on this machine: threads for work that releases the GIL (decoding, compression), processes for other
            work.
        engine: a cluster; None: workers on this machine.
        share: on a cluster, the share of a task that an item is; a task gets items until their shares reach 1.
        folders: on a cluster, the folders that the function reads or writes, which every node must see.

    Raises:
        RasedError: a worker process was killed, or a node does not see the folders.
    """
    if engine is None:
        return _in_order_here(function, items, jobs=jobs, workers=workers)
    return engine.in_order(function, items, jobs=jobs, share=share, folders=folders)

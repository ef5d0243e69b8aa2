"""Run tasks on a Ray cluster. Ray is an extra of rased, imported only when a cluster is used."""

import logging
import os
import platform
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from rased import __version__
from rased.errors import ProblemsFound, RasedError, cut
from rased.extras import missing_package
from rased.machine import ONE_THREAD, cores

Item = TypeVar("Item")
Result = TypeVar("Result")

LOST = 8
"""How often a task is repeated that was lost with its process or node."""
_LOOK = 1.0
"""Seconds between two looks at the size of the cluster."""
_KNOCK = 10.0
"""Seconds that a cluster has to answer."""
_STORE = 100_000_000, 32_000_000
"""Bytes of shared memory for results, and bytes per worker, where Ray is started for one command."""
_NAMES = 8
"""Names in a folder that a node is asked for."""
_QUIET = {
    # Ray asks for tasks that ran out of memory to be repeated for ever.
    "RAY_task_oom_retries": str(LOST),
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise a lost task or node is printed to standard output.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    # As those of this machine; the default of Ray is 15.
    "RAY_worker_niceness": "0",
}


def whole(item: object) -> float:
    """Return 1: each item is a task of its own."""
    return 1.0


@contextmanager
def cluster(address: str = "", *, jobs: int = 0) -> Iterator["Cluster"]:
    """Give a cluster for the argument `engine` of functions; it is joined or started when the first task runs.

    Args:
        address: HOST:PORT of a cluster that this machine is a node of; `auto` for the one that runs on this machine;
            `local` to start Ray on this machine until the end of the block; "": $RAY_ADDRESS, else `local`.
        jobs: CPUs for `local`; 0: one per core.

    Raises:
        RasedError: Ray is not installed, or does not answer.
    """
    if find_spec("ray") is None:
        raise RasedError("A cluster needs Ray, which is not installed: pip install 'rased[ray]'.")
    found = Cluster(address or os.environ.get("RAY_ADDRESS") or "local", jobs)
    try:
        yield found
    finally:
        found.leave()


class Cluster:
    """Workers of a Ray cluster; see `cluster`."""

    def __init__(self, address: str, jobs: int) -> None:
        self._address, self._jobs = address, jobs
        self._ray: Any = None
        self._run: Any = None
        self._ours = False
        self._cpus, self._looked = 1, float("-inf")

    def in_order(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        jobs: int | None,
        share: Callable[[Item], float],
        folders: Sequence[Path],
    ) -> Iterator[Result]:
        """Do what `rased.parallel.in_order` does, on the cluster."""
        ray = self._join()
        pack = ray.cloudpickle.dumps
        site, sent = _site(folders), ray.put(pack(function))
        todo = _blocks(items, share)
        waiting: deque[Any] = deque()
        running: set[Any] = set()
        try:
            while True:
                workers = min(self._size(), jobs or self._size())
                room = 2 * workers - len(waiting)
                # A smaller number than that of the CPUs is a limit of what runs at once.
                room = min(room, jobs - len(running)) if jobs else room
                for block in islice(todo, max(0, room)):
                    task = self._run.remote(site, [sent], pack(block))
                    waiting.append(task)
                    running.add(task)
                if not waiting:
                    return
                if waiting[0] in running:
                    running.difference_update(ray.wait(list(running), timeout=_LOOK)[0])
                    continue
                results, error = ray.get(waiting.popleft())
                yield from results
                if error is not None:
                    raise error
        except ray.exceptions.RayError as error:
            raise _sentence(error, ray) from error
        finally:
            # Also when the caller stops iterating early, or after Ctrl-C.
            for task in waiting:
                ray.cancel(task, force=True)

    def leave(self) -> None:
        """Leave the cluster, or stop the one that was started; what runs there for this process is ended."""
        if self._ours:
            self._ray.shutdown()
        self._ray, self._ours = None, False

    def _size(self) -> int:
        """Return the number of CPUs of all nodes, at least 1; nodes come and go."""
        if time.monotonic() - self._looked > _LOOK:
            self._cpus = max(1, int(self._ray.cluster_resources().get("CPU", 0)))
            self._looked = time.monotonic()
        return self._cpus

    def _join(self) -> Any:
        """Return the module `ray`, connected."""
        if self._ray is not None:
            return self._ray
        if self._address.startswith("ray://"):
            raise RasedError(
                f"The address '{self._address}' is that of a Ray client, which is not supported: run the command on a "
                "node of the cluster, with --address auto."
            )
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        if not ray.is_initialized():
            with _handlers_kept():
                _connect(ray, self._address, self._jobs or cores())
            self._ours = True
        self._ray = ray
        self._run = ray.remote(_task).options(num_cpus=1, max_retries=LOST)
        return ray


def _connect(ray: Any, address: str, workers: int) -> None:
    own: dict[str, Any] = {}
    if address == "local":
        store = _STORE[0] + workers * _STORE[1]
        own = {
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": store,
        }
    try:
        if address not in ("auto", "local"):
            # Ray itself would knock for minutes.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_KNOCK).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address == "local":
            why = cut(str(error)).rstrip(".")
            raise RasedError(f"Ray does not start on this machine: {why}.") from error
        raise RasedError(
            f"No Ray cluster answers at '{address}' ({cut(str(error)).rstrip('.')}): start one with "
            "`ray start --head`, run the command on one of its nodes, and give --address auto or its HOST:PORT."
        ) from error


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _blocks(items: Iterable[Item], share: Callable[[Item], float]) -> Iterator[list[Item]]:
    """Yield the items of each task."""
    block: list[Item] = []
    filled = 0.0
    for item in items:
        block.append(item)
        filled += share(item)
        if filled >= 1.0:
            yield block
            block, filled = [], 0.0
    if block:
        yield block


@dataclass(frozen=True)
class _Site:
    """What a worker takes over from this process before the first task.

    Attributes:
        folder: working directory.
        version: of rased.
        path: entries of sys.path.
        variables: of the environment.
        seen: some names in each folder that both must see.
    """

    folder: str
    version: str
    path: tuple[str, ...]
    variables: Mapping[str, str]
    seen: Mapping[str, tuple[str, ...]]


def _site(folders: Sequence[Path]) -> _Site:
    own = {name: value for name, value in os.environ.items() if name.startswith("RASED_")}
    return _Site(
        str(Path.cwd()),
        __version__,
        tuple(sys.path),
        own | ONE_THREAD,
        {str(folder.resolve()): _some_names(folder) for folder in folders},
    )


def _some_names(folder: Path) -> tuple[str, ...]:
    names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names are enough
    return tuple(names[:: max(1, len(names) // _NAMES)][:_NAMES])


_settled: _Site | None = None
_kept: tuple[Any, Any] = (None, None)


def _task(site: _Site, sent: list[Any], block: bytes) -> tuple[list[Any], Exception | None]:
    """Run in a worker: return the results of a block, up to the first error, and that error."""
    from ray import cloudpickle

    results: list[Any] = []
    try:
        # Before anything is unpickled, which imports modules.
        _settle(site)
        function = _received(sent[0])
        for item in cloudpickle.loads(block):
            results.append(function(item))
    except Exception as error:
        return results, _portable(error)
    return results, None


def _received(sent: Any) -> Any:
    """Return the function of a run; a worker unpickles it once."""
    global _kept
    import ray

    if _kept[0] != sent:
        _kept = (sent, ray.cloudpickle.loads(ray.get(sent)))
    return _kept[1]


def _settle(site: _Site) -> None:
    """Prepare a worker for the tasks of a run.

    Raises:
        RasedError: the node has another version of rased, or does not see the same folders.
    """
    global _settled
    if _settled == site:
        return
    node = platform.node()
    if site.version != __version__:
        raise RasedError(
            f"The node '{node}' has rased {__version__}, this machine {site.version}: install the same version on all "
            "nodes."
        )
    os.environ.update(site.variables)
    for folder, names in {site.folder: (), **site.seen}.items():
        place = Path(folder)
        if not place.exists() or not all((place / name).exists() for name in names):
            raise RasedError(
                f"The node '{node}' does not see the content of '{folder}': with --engine ray, all nodes must see "
                "the same folders under the same names."
            )
    os.chdir(site.folder)
    # Ray puts the working directory first, where its files would hide installed packages.
    sys.path[:] = [entry for entry in sys.path if entry != site.folder or entry in site.path]
    _settled = site


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled; one that is no mistake of the caller has its traceback as a note."""
    from ray import cloudpickle

    if isinstance(error, ModuleNotFoundError):
        sentence = f"On the node '{platform.node()}', {missing_package(error)}."
        return RasedError(sentence)
    if not isinstance(error, RasedError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        if isinstance(error, RasedError):
            kind = ProblemsFound if isinstance(error, ProblemsFound) else RasedError
            return kind(str(error))
        return RasedError(f"{type(error).__name__}: {cut(str(error))}.")
    return error


def _sentence(error: Exception, ray: Any) -> RasedError:
    """Return what to do about an error of Ray itself."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return RasedError(
            f"A node of the cluster cannot run rased ({cut(str(error.cause)).rstrip('.')}): install rased "
            f"{__version__} on all nodes."
        )
    return RasedError(
        f"A task was lost {LOST + 1} times with its process or node (out of memory?). Finished work is kept: run the "
        "same command again, with fewer --jobs or on other nodes."
    )

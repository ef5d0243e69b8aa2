"""Ray for tests: in a folder of its own, with little shared memory, and ended in any case."""

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from rased.parallel import Cluster, cluster
from rased.parallel.ray_cluster import _QUIET

STORE = 80_000_000
"""Bytes of shared memory, which some machines have little of."""
TOKEN = secrets.token_hex(32)
"""What the nodes and commands of a cluster share; a process reads it once."""


@contextmanager
def ray_folder() -> Iterator[Path]:
    """A new folder for Ray's sockets, whose names must be short; every process that knows it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.name == "posix" else None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        try:
            yield folder
        finally:
            end(str(folder))
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def local_cluster(jobs: int = 2) -> Iterator[Cluster]:
    """Ray on this machine."""
    with ray_folder(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("rased.parallel.ray_cluster._STORE", (STORE, 0))
        with cluster("local", jobs=jobs) as found:
            yield found


class TwoNodes:
    """A head with one CPU, and a second node with one CPU that can be killed and replaced."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._names = (f"{folder.name}-node-{number}" for number in itertools.count())
        self._folder = folder
        self._start("head", "--head", "--port", str(port), "--include-dashboard", "false")
        self._second = self._add()

    def replace_the_second(self) -> None:
        """Kill the raylet of the second node and all its workers at once; then start another node."""
        end(self._second)
        self._second = self._add()

    def _add(self) -> str:
        for name in itertools.islice(self._names, 3):
            # On a busy machine, a node may not come up in Ray's own time.
            with suppress(subprocess.CalledProcessError):
                self._start(name, "--address", self.address)
                return name
            end(name)
        raise AssertionError("no node came up in three attempts")

    def _start(self, name: str, *words: str) -> None:
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", *words, "--num-cpus", "1", "--disable-usage-stats"]
        subprocess.run(
            [*command, "--object-store-memory", str(STORE), "--node-ip-address", "127.0.0.1"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **_QUIET, "NODE_OF_TEST": name},
        )


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """A cluster of two nodes on this machine."""
    with ray_folder() as folder:
        yield TwoNodes(folder)


class Killing(Cluster):
    """A cluster whose second node dies when some of the results are there."""

    def __init__(self, address: str, nodes: TwoNodes, after: set[int]) -> None:
        super().__init__(address, 0)
        self._nodes, self._after = nodes, after

    def in_order(self, *arguments: object, **named: object) -> Iterator[object]:
        """Kill after the numbers of results that were given, each once."""
        for number, result in enumerate(super().in_order(*arguments, **named), 1):
            if number in self._after:
                self._after.remove(number)
                self._nodes.replace_the_second()
            yield result


def family(mark: str) -> list[int]:
    """The processes, besides this one, that have a word in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return [process for process in found if process != os.getpid()]


def end(mark: str) -> None:
    """Kill these processes."""
    for process in family(mark):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

"""Several nodes on one machine: network namespaces that a cable (veth) connects, and torchrun's agent on each."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

# Forked processes need not import these again.
import rased.evaluation.closing
import rased.training.launch
import rased.training.sharded  # noqa: F401
from rased.cli import main
from tests.forks import forked

PORT = 29400
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SLOW = {"keep_alive_interval": 3, "keep_alive_max_attempt": 20}
"""On a busy machine, agents do not hear each other within the usual 15 s."""


class Node:
    """One node: a network namespace with the address 10.77.0.NUMBER."""

    def __init__(self, name: str, number: int):
        self.name, self.address = name, f"10.77.0.{number}"

    def start(self, words: list[str], said: Path, **agent: object) -> BaseProcess:
        """Start torchrun's agent here, whose workers run `rased WORDS`; see `agent_of`."""
        return forked(_on_node, self.name, agent_of(self, **agent), words, said)

    def processes(self) -> list[int]:
        return [int(line) for line in _ip("netns", "pids", self.name).split()]

    def kill(self) -> None:
        """The node loses its power."""
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass


def agent_of(
    node: Node | None, *, count: str = "2", ranks: int = 1, restarts: int = 0
) -> LaunchConfig:
    """What `torchrun --nnodes COUNT --nproc-per-node RANKS --max-restarts RESTARTS` sets on a node, or on this machine.

    Workers are forked: they need not import everything again.
    """
    least, _, most = count.partition(":")
    where = (
        {
            "rdzv_endpoint": f"10.77.0.1:{PORT}",
            "local_addr": node.address,
            # The namespace has no name for its address.
            "rdzv_configs": {
                "is_host": node.address.endswith(".1"),
                "last_call_timeout": 3,
                **_SLOW,
            },
        }
        if node
        else {"rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    )
    return LaunchConfig(
        min_nodes=int(least),
        max_nodes=int(most or least),
        nproc_per_node=ranks,
        run_id="test",
        rdzv_backend="c10d",
        max_restarts=restarts,
        monitor_interval=0.1,
        start_method="fork",
        **where,
    )


def one_machine(words: list[str], said: Path, *, ranks: int) -> BaseProcess:
    """Start `rased WORDS` under torchrun's agent on this machine."""
    return forked(_on_node, None, agent_of(None, count="1", ranks=ranks), words, said)


def slurm_task(
    words: list[str], said: Path, rank: int, port: int, nodes: Sequence[Node] = ()
) -> BaseProcess:
    """Start `rased WORDS` as `srun` starts one of two tasks: on this machine, or each on a node."""
    here, there = ("0", str(rank)) if nodes else (str(rank), "0")
    task = {
        **{"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": str(2 // max(1, len(nodes)))},
        **{"SLURM_NNODES": str(max(1, len(nodes))), "SLURM_PROCID": str(rank)},
        **{"SLURM_LOCALID": here, "SLURM_NODEID": there},
        **{"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7", "MASTER_PORT": str(port)},
        "MASTER_ADDR": nodes[0].address if nodes else "127.0.0.1",
    }
    return forked(_as_task, nodes[rank].name if nodes else None, task, words, said)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def two_nodes() -> Iterator[list[Node]]:
    """Two connected nodes; whatever runs on them ends with the block."""
    if os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need the command `ip` (iproute2)")
    nodes = [Node(f"rased-{os.getpid()}-{number}", number) for number in (1, 2)]
    try:
        try:
            for node in nodes:
                _ip("netns", "add", node.name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
        first, second = (node.name for node in nodes)
        # On both nodes, the end of the cable is called eth0.
        _ip(*f"link add eth0 netns {first} type veth peer name eth0 netns {second}".split())
        for node in nodes:
            _ip("-n", node.name, "addr", "add", f"{node.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", node.name, "link", "set", device, "up")
        yield nodes
    finally:
        for node in nodes:
            if f"{node.name}\n" in f"{_ip('netns', 'list')}\n".replace(" ", "\n"):
                node.kill()
                _ip("netns", "del", node.name)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _begin(said: Path, **environment: str) -> None:
    """Set up a forked process: its output goes to the end of a file, warnings are those of a user's process."""
    stream = said.open("a", buffering=1)
    for channel in (1, 2):
        os.dup2(stream.fileno(), channel)
    sys.stdin = Path(os.devnull).open()
    sys.stdout = sys.stderr = stream
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    os.environ.update({"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", **environment})


def _enter(name: str | None) -> None:
    """Use the network of a node."""
    if name is None:
        return
    os.environ["GLOO_SOCKET_IFNAME"] = "eth0"
    with Path(f"/run/netns/{name}").open() as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")


def _on_node(name: str | None, agent: LaunchConfig, words: list[str], said: Path) -> None:
    _begin(said)
    _enter(name)
    elastic_launch(agent, _worker)(words)


def _as_task(name: str | None, variables: dict[str, str], words: list[str], said: Path) -> None:
    _begin(said, **variables)
    _enter(name)
    _worker(words)


def _worker(words: list[str]) -> None:
    code = main(words)
    if code:
        sys.exit(code)

"""Everything that a system may lack lies in one module, and something stands in for it there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rased import machine
from tests import EXCERPTS

PACKAGE = Path(machine.__file__).parent
POSIX_MODULES = {"fcntl", "resource", "grp", "pwd", "termios", "pty", "msvcrt", "winreg"}
POSIX_CALLS = {
    "fork", "getuid", "geteuid", "killpg", "pread", "pwrite", "register_at_fork",
    "sched_getaffinity", "setsid", "statvfs", "sysconf", "uname",
}  # fmt: skip
ASKED = re.compile("|".join([*POSIX_MODULES, *(rf"os\s*\.\s*{call}" for call in POSIX_CALLS)]))


def test_only_machine_asks_for_what_not_every_system_has():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == Path(machine.__file__):
            continue
        text = path.read_text()
        if not ASKED.search(text):  # reading the syntax of every file takes seconds
            continue
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name in POSIX_MODULES]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = [node.attr] if node.value.id == "os" and node.attr in POSIX_CALLS else []
            found += [f"{path.relative_to(PACKAGE)}:{node.lineno}: {name}" for name in names]
    assert found == []


ELSEWHERE = """
import builtins, os, signal, sys
import torch, pytorch_lightning, torchmetrics, webdataset, h5py, soundfile  # as they are on any system
for name in {calls!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("sigwaitinfo", "SIGHUP"):
    delattr(signal, name)
whole = builtins.__import__
def some(name, globals=None, *others, **named):
    if name in {modules!r} and str((globals or {{}}).get("__name__")).startswith("rased"):
        raise ModuleNotFoundError(name)
    return whole(name, globals, *others, **named)
builtins.__import__ = some
from rased.cli import main
for words in {commands!r}:
    code = main(words)
    assert code == 0, (words, code)
import rased
assert rased.load("gru-mask-16k")(torch.zeros(1, 1600)).shape == (1, 1600)
"""


def test_load_enhance_pack_train_and_evaluate_run_without_any_of_it(tmp_path):
    noisy = tmp_path / "in"
    noisy.mkdir()
    for role in ("noisy", "target"):
        folder = tmp_path / "set" / role
        folder.mkdir(parents=True)
        for name in ("m0008.flac", "m0017.flac"):
            (folder / name).write_bytes((EXCERPTS / role / name).read_bytes())
    commands = [
        ["enhance", str(tmp_path / "set" / "noisy" / "m0008.flac"), "-o", str(tmp_path / "out.wav")],
        ["data", "pack", str(EXCERPTS / "noisy"), "--role", "noise", "--out", str(tmp_path / "shards")],
        ["evaluate", "log-mmse", "--on", str(tmp_path / "set"), "--out", str(tmp_path / "results"),
         "--metrics", "pesq-wb", "si-sdr", "--jobs", "2"],
        ["train", "-c", "model/gru-mask", "-c", "data/bundle", "-c", "trainer/quick", "--runs", str(tmp_path),
         "--name", "run", "--trainer.max_steps", "2", "--data.batch_size", "2", "--data.num_workers", "0",
         "--data.validation_samples", "2", "--run.evaluate", "[]"],
    ]  # fmt: skip
    code = ELSEWHERE.format(
        calls=["killpg", "pread", "pwrite", "register_at_fork", "sched_getaffinity"],
        modules=sorted(POSIX_MODULES),
        commands=commands,
    )
    environment = {**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out.wav").stat().st_size > 1000
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    (result,) = (tmp_path / "results").glob("*.json")
    assert '"died"' not in result.read_text()


class TestLocks:
    def test_one_process_holds_it(self, tmp_path):
        path = tmp_path / "file"
        path.touch()
        first, second = os.open(path, machine.WRITE), os.open(path, machine.WRITE)
        assert machine.take_lock(first)
        assert not machine.take_lock(second)
        assert not machine.take_lock(second, shared=True)
        os.close(first)
        assert machine.take_lock(second)
        os.close(second)

    def test_what_has_no_locks_is_everybody_s_and_says_so(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "fcntl", None)
        lock = os.open(tmp_path, machine.READ)
        assert machine.take_lock(lock)
        assert machine.hold_lock(lock) is None
        assert machine.hold_lock(None) is None
        os.close(lock)


@pytest.mark.parametrize("without", [False, True])
def test_positions_in_files(without, monkeypatch, tmp_path):
    if without:
        monkeypatch.delattr(os, "pread")
        monkeypatch.delattr(os, "pwrite")
    file = os.open(tmp_path / "file", machine.WRITE)
    assert machine.write_at(file, b"abcdef", 2) == 6
    assert machine.write_at(file, memoryview(b"XY"), 0) == 2
    assert machine.read_at(file, 3, 1) == b"Yab"
    assert machine.read_at(file, 9, 6) == b"ef"
    os.close(file)


def test_peak_memory_grows_with_what_is_held():
    code = (
        "from rased.machine import peak_memory as peak; before = peak(); kept = bytearray(200_000_000); "
        "print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 190 < float(done.stdout) < 230

"""What runs in a child: answers, errors, deaths; one child for many calls; the parent's output stays its own."""

import ctypes
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from rased.errors import RasedError
from rased.native import DiedError, call


def die():
    ctypes.string_at(0)


def leave():
    os._exit(3)


def refuse():
    raise RasedError("what it is: what to do.")


def noise(text):
    os.write(1, text.encode())
    return text


def loaded():
    return "torch" in sys.modules


def here(pipe):
    pipe.send((os.getpid(), call(os.getpid)))


def test_a_child_answers_and_stays():
    child = call(os.getpid)
    assert child != os.getpid()
    assert call(os.getpid) == child
    samples = np.arange(100_000, dtype=np.float32)
    assert (call(np.negative, samples) == -samples).all()


def test_it_does_not_load_torch():
    with pytest.raises(DiedError):
        call(leave)
    assert call(loaded) is False


def test_what_it_raises_is_raised_here():
    with pytest.raises(RasedError, match="what it is: what to do"):
        call(refuse)
    with pytest.raises(ZeroDivisionError):
        call(divmod, 1, 0)


@pytest.mark.parametrize(("ending", "said"), [(die, "SIGSEGV"), (leave, "exit code 3")])
def test_a_death_is_an_error_and_the_next_call_gets_another_child(ending, said):
    before = call(os.getpid)
    with pytest.raises(DiedError, match=said):
        call(ending)
    assert call(os.getpid) not in (before, os.getpid())


def test_what_it_prints_disturbs_neither_answers_nor_standard_output(capfd):
    assert call(noise, "PESQ says\n") == "PESQ says\n"
    assert capfd.readouterr().out == ""


def test_a_fork_has_a_child_of_its_own():
    ours = call(os.getpid)
    context = get_context("fork")
    pipe, theirs = context.Pipe()
    process = context.Process(target=here, args=(theirs,))
    process.start()
    forked, child = pipe.recv()
    process.join()
    assert len({os.getpid(), ours, forked, child}) == 4
    assert call(os.getpid) == ours


def test_it_ends_with_its_parent():
    program = "import os; from rased.native import call; print(call(os.getpid)); os._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert _ends(int(done.stdout)), "the child outlived its parent"


def _ends(process: int, *, within: float = 30.0) -> bool:
    """Whether a process that is not ours to wait for ends: it is gone, or a zombie that nobody collects."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_program_that_ends_leaves_nothing_running():
    """Not even a warning of a process that is still there."""
    code = "from rased.native import call; print(call(divmod, 7, 3))"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(2, 1)\n", "")

"""Results come in the order of the items, from any number of workers of either kind, in flat memory."""

import os
import signal

import pytest

from rased.cli import main
from rased.errors import RasedError
from rased.machine import cores
from rased.parallel import forked, in_order


def square(number):
    return number * number


def kill_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", ["threads", "processes"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_results_keep_the_order_of_the_items(workers, jobs):
    assert list(in_order(square, range(25), jobs=jobs, workers=workers)) == [
        n * n for n in range(25)
    ]


@pytest.mark.parametrize("jobs", [1, 3])
def test_items_are_read_no_further_than_needed(jobs):
    read = []
    results = in_order(square, (read.append(n) or n for n in range(1000)), jobs=jobs)
    for count in range(1, 50):
        next(results)
        assert len(read) <= count + 2 * jobs
    results.close()


@pytest.mark.parametrize(("workers", "jobs"), [("threads", 2), ("processes", 1)])
def test_what_fails_comes_out_at_its_place(workers, jobs):
    results = in_order((lambda n: 1 / n), [2, 1, 0, 4], jobs=jobs, workers=workers)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_killed_worker_is_a_sentence():
    with pytest.raises(RasedError, match=r"was killed .* fewer --jobs"):
        list(in_order(kill_at_three, range(8), jobs=2, workers="processes"))


def test_cores_are_those_of_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert cores() == 3


def test_a_system_that_does_not_tell_which_cores_are_ours(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores() == 6
    assert list(in_order(square, range(9))) == [n * n for n in range(9)]
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    words = ["data", "rooms", "--out", str(tmp_path / "rooms"), "--count", "1", "--seed", "1"]
    assert main([*words, "--t60", "0.2,0.25"]) == 0


def said_and_counted(number: int) -> int:
    print("a function may print")
    return number + 1


def refused() -> None:
    raise ValueError("not that way.")


def killed() -> None:
    os._exit(9)


def test_a_fork_answers_and_what_it_prints_is_not_on_standard_output(capfd):
    assert forked(said_and_counted, 2) == 3
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("function", "said"), [(refused, r"^ValueError: not that way\.$"), (killed, "its process died")]
)
def test_a_fork_that_fails_is_one_sentence(function, said):
    with pytest.raises(RasedError, match=said):
        forked(function)

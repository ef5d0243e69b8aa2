"""Several processes: every batch once, errors arrive, a death is told."""

import os
from pathlib import Path

import pytest

from rased.errors import RasedError
from rased.evaluation.scoring.jobs import Job
from rased.evaluation.scoring.systems import System
from rased.evaluation.scoring.workers import work
from rased.evaluation.testset import read_testset


class Deadly(System):
    """Kills the process that it is handed to."""

    def __setstate__(self, state):
        os._exit(9)


def batches(system, folder):
    items = read_testset(folder).items
    return [(Job(system, item, 1.2, ("si-sdr",), None, False),) for item in items]


def test_every_batch_is_done_once(folder):
    todo = batches(System("noisy", "noisy", "noisy"), folder)
    done = list(work(todo, 3))
    assert sorted(job.item.id for job, _ in done) == [job.item.id for (job,) in todo]
    assert all(outcome.scores["si-sdr"].value < 30 for _, outcome in done)


def test_one_process_follows_the_order(folder):
    todo = batches(System("noisy", "noisy", "noisy"), folder)
    assert [(job,) for job, _ in work(todo, 1)] == todo


def test_an_error_of_another_process_arrives(folder):
    odd = System("odd", "run", str(Path(folder) / "no-run"))
    todo = [*batches(System("noisy", "noisy", "noisy"), folder), *batches(odd, folder)]
    with pytest.raises(RasedError, match="no-run"):
        list(work(todo, 2))


def test_a_death_is_told(folder):
    todo = batches(Deadly("noisy", "noisy", "noisy"), folder)
    with pytest.raises(RasedError, match="fewer --jobs"):
        list(work(todo[:2], 2))

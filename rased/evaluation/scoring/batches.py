"""Which utterances are enhanced together, so that a batch gives what one at a time gives, and pays.

A function of the open jobs alone, not of the number of processes.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

from rased.evaluation.scoring.jobs import Job, JobBatch

SECONDS = 32.0
"""Of audio in a batch, the silence that fills it up included: what bounds its memory."""

PAYS = 1.1
"""Least gain in speed (`cost.measure`) for which a system is given batches: convolutions have none on a CPU."""

FILL = 0.8
"""Shortest utterance of a batch, as a share of the longest."""

SHARE = 4
"""A batch is at most this part of what is left: the last ones are short, and no process waits long."""

Company = Literal["similar", "equal", "none"]
"""Which lengths a system may be given together: a causal one does not hear the silence that fills up."""


def company(*, causal: bool | None, gain: float | None) -> Company:
    """What suits a system, from `Enhancer.causal` and the gain of batches; None: it enhances nothing."""
    if gain is None or gain < PAYS:
        return "none"
    return "similar" if causal else "equal"


def plan(jobs: Sequence[Job], companies: Mapping[str, Company]) -> list[JobBatch]:
    """Batches of jobs: system by system as they come, long utterances first.

    Args:
        jobs: what there is to do, the jobs of a system in a row.
        companies: `company` of every system, by name.
    """
    left = sum(job.seconds for job in jobs)
    batches: list[JobBatch] = []
    for system, own in groupby(jobs, key=lambda job: job.system):
        ordered = sorted(own, key=lambda job: -job.seconds)
        while ordered:
            count = _count(ordered, companies[system.name], min(SECONDS, left / SHARE))
            batch, ordered = tuple(ordered[:count]), ordered[count:]
            left -= sum(job.seconds for job in batch)
            batches.append(batch)
    return batches


def _count(ordered: Sequence[Job], company: Company, bound: float) -> int:
    """How many of the first jobs go together: one at least."""
    longest = ordered[0].seconds
    shortest = {"similar": FILL * longest, "equal": longest, "none": float("inf")}[company]
    most = max(1, int(bound / longest))
    fitting = 1
    while fitting < min(most, len(ordered)) and ordered[fitting].seconds >= shortest:
        fitting += 1
    return fitting

"""Group utterances into batches that give the same output as single utterances, but faster.

The groups depend only on the open jobs, not on the number of processes.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Literal

from rased.evaluation.scoring.jobs import Job, JobBatch

SECONDS = 32.0
"""Maximum seconds of audio in a batch, including padding; this limits its memory."""

PAYS = 1.1
"""Smallest speed-up (`cost.measure`) for which a system gets batches: on a CPU, convolutions have none."""

FILL = 0.8
"""Shortest utterance in a batch, as a share of the longest."""

SHARE = 4
"""A batch is at most this share of the remaining work: the last batches are short, so no process waits long."""

Company = Literal["similar", "equal", "none"]
"""Lengths that a batch combines: "similar" for causal systems, whose output does not depend on padding at the end."""


def company(*, causal: bool | None, gain: float | None) -> Company:
    """Return the batching rule of a system from `Enhancer.causal` and its gain (None: it enhances nothing)."""
    if gain is None or gain < PAYS:
        return "none"
    return "similar" if causal else "equal"


def plan(jobs: Sequence[Job], companies: Mapping[str, Company]) -> list[JobBatch]:
    """Form batches of jobs: system by system in the given order, long utterances first.

    Args:
        jobs: the open jobs, those of a system next to each other.
        companies: `company` of every system, by name.
    """
    left = sum(job.seconds for job in jobs)
    batches: list[JobBatch] = []
    for system, own in groupby(jobs, key=lambda job: job.system):
        # Long ones first: a long batch at the end would keep one process busy while the others wait.
        ordered = sorted(own, key=lambda job: -job.seconds)
        while ordered:
            count = _count(ordered, companies[system.name], min(SECONDS, left / SHARE))
            batch, ordered = tuple(ordered[:count]), ordered[count:]
            left -= sum(job.seconds for job in batch)
            batches.append(batch)
    return batches


def _count(ordered: Sequence[Job], company: Company, bound: float) -> int:
    """Return how many of the first jobs form a batch, at least one."""
    longest = ordered[0].seconds
    if longest == 0:  # unknown, as of a file that ffmpeg reads: it goes alone
        return 1
    shortest = {"similar": FILL * longest, "equal": longest, "none": float("inf")}[company]
    most = max(1, int(bound / longest))
    fitting = 1
    while fitting < min(most, len(ordered)) and ordered[fitting].seconds >= shortest:
        fitting += 1
    return fitting

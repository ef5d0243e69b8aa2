"""What a system costs on this machine: time for one file at a time, and what batches gain."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float32

from rased.evaluation.testset import EvaluationSet, given, read_noisy
from rased.machine import processor
from rased.models.base import Enhancer

SECONDS = 10.0
"""Of audio that is measured on."""

ROWS = 4
"""Pieces of it that make a batch."""

UNKNOWN: dict[str, Any] = {
    "real_time_factor": None,
    "batch_gain": None,
    "peak_memory_mb": None,
    "processor": None,
}
"""Of a system that enhances nothing, or has not been measured."""

_ENOUGH = 0.5


@torch.inference_mode()
def measure(enhancer: Enhancer, testset: EvaluationSet) -> dict[str, Any]:
    """Real-time factor, gain of batches, and the processor that both are of.

    On one thread (the caller's business), on the first 10 s of the test set: in one piece, as a file
    would be, and in a batch of four pieces. Processor time, so that other processes matter little. The conditions
    are those of the first utterance.
    """
    condition = given(enhancer, testset.items[0])
    noisy = torch.from_numpy(_audio(testset, enhancer.sample_rate))
    cut = len(noisy) // ROWS
    rows = rearrange(noisy[: ROWS * cut], "(batch time) -> batch time", time=cut)
    whole = noisy[None]
    if enhancer.channels > 1:  # what they hold costs nothing
        rows, whole = (
            repeat(each, "batch time -> batch channel time", channel=enhancer.channels)
            for each in (rows, whole)
        )
    enhancer(rows[:1], condition=condition)
    alone = _processor_seconds(lambda: enhancer(whole, condition=condition))
    together = _processor_seconds(lambda: enhancer(rows, condition=condition))
    return {
        "real_time_factor": round(alone * enhancer.sample_rate / len(noisy), 5),
        "batch_gain": round(alone / together, 2),
        "processor": processor(),
    }


def _audio(testset: EvaluationSet, sample_rate: int) -> Float32[np.ndarray, " time"]:
    """The first 10 s of a test set; of a shorter one all, over and over."""
    wanted, parts = round(SECONDS * sample_rate), []
    for item in testset.items:
        parts.append(read_noisy(item.noisy, sample_rate=sample_rate))
        if sum(map(len, parts)) >= wanted:
            break
    return np.resize(np.concatenate(parts), wanted)


def _processor_seconds(work: Callable[[], object]) -> float:
    """Least of several runs, of one where that takes long enough."""
    found: list[float] = []
    while not found or (sum(found) < _ENOUGH and len(found) < 3):
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return min(found)

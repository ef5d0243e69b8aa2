"""Measure the cost of a system on this machine: real-time factor of single files, and speed-up by batches."""

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
"""Seconds of audio to measure with."""

ROWS = 4
"""Number of pieces of that audio in a batch."""

UNKNOWN: dict[str, Any] = {
    "real_time_factor": None,
    "batch_gain": None,
    "peak_memory_mb": None,
    "processor": None,
}
"""Cost of a system that enhances nothing, or has not been measured."""

_ENOUGH = 0.5  # seconds of processor time


@torch.inference_mode()
def measure(enhancer: Enhancer, testset: EvaluationSet) -> dict[str, Any]:
    """Measure real-time factor and speed-up by batches; return them with the name of the processor.

    Runs on one thread (set by the caller), with the first 10 s of the test set: in one piece, like a file,
    and as a batch of four pieces. Uses processor time, on which other processes have little effect. The conditions
    are those of the first utterance.
    """
    condition = given(enhancer, testset.items[0])
    noisy = torch.from_numpy(_audio(testset, enhancer.sample_rate))
    cut = len(noisy) // ROWS
    rows = rearrange(noisy[: ROWS * cut], "(batch time) -> batch time", time=cut)
    whole = noisy[None]
    if enhancer.channels > 1:  # the content of the channels does not affect the cost
        rows, whole = (
            repeat(each, "batch time -> batch channel time", channel=enhancer.channels)
            for each in (rows, whole)
        )
    # Once without a clock: the first pass allocates memory and chooses kernels.
    enhancer(rows[:1], condition=condition)
    alone = processor_seconds(lambda: enhancer(whole, condition=condition))
    together = processor_seconds(lambda: enhancer(rows, condition=condition))
    return {
        "real_time_factor": round(alone * enhancer.sample_rate / len(noisy), 5),
        "batch_gain": round(alone / together, 2),
        "processor": processor(),
    }


def _audio(testset: EvaluationSet, sample_rate: int) -> Float32[np.ndarray, " time"]:
    """Return the first 10 s of a test set; a shorter one is repeated."""
    wanted, parts = round(SECONDS * sample_rate), []
    for item in testset.items:
        parts.append(read_noisy(item.noisy, sample_rate=sample_rate))
        if sum(map(len, parts)) >= wanted:
            break
    return np.resize(np.concatenate(parts), wanted)  # a short one is repeated


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the minimum of several runs, or of one if that takes long enough."""
    found: list[float] = []
    while not found or (sum(found) < _ENOUGH and len(found) < 3):
        # Processor time of this thread: waiting for other processes does not count.
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return min(found)

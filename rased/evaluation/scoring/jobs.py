"""Process the utterances of a test set: enhance a batch, then measure each estimate."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32
from torch.nn.utils.rnn import pad_sequence

from rased import audio
from rased.conditions import Condition, stacked
from rased.errors import RasedError
from rased.evaluation.scoring.systems import System
from rased.evaluation.testset import Item, audio_files, given, read_audio, read_noisy
from rased.metrics import METRICS, Score
from rased.models.base import Enhancer, generators
from rased.signal.alignment import delay, undelay
from rased.signal.levels import rms

SCORING_RATE = 16_000
SLACK = 0.1
"""Largest difference in seconds between the length of an enhanced file and of the input."""

DELAY_LIMIT = 0.25
"""Largest delay of an estimate that is searched for, in seconds."""

_KEPT = 4  # systems that a process keeps loaded

Waveform = Float32[np.ndarray, " _"]
Noisy = Float32[np.ndarray, "... _"]


@dataclass(frozen=True)
class Job:
    """One utterance and one system.

    Attributes:
        system: the system.
        item: the utterance.
        seconds: length of the noisy file.
        metrics: names of the metrics to measure.
        save: path for the estimate; None: do not save it.
        align: remove a delay of the estimate before measuring.
    """

    system: System
    item: Item
    seconds: float
    metrics: tuple[str, ...]
    save: Path | None
    align: bool


JobBatch = tuple[Job, ...]
"""Jobs of one system that are enhanced in one batch."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        seconds: length of the utterance.
        scores: by metric.
        measured: see `Utterance`.
    """

    seconds: float
    scores: dict[str, Score] = field(default_factory=dict)
    measured: dict[str, float | None] = field(default_factory=dict)


def perform(batch: JobBatch) -> Iterator[Outcome]:
    """Enhance the utterances of a batch together, then measure them one by one, in their order."""
    enhancer = loaded(batch[0].system)
    if enhancer is None:
        yield from map(_outcome_of_file, batch)
        return
    rate, channels = enhancer.sample_rate, enhancer.channels
    waveforms = [read_noisy(job.item.noisy, sample_rate=rate, channels=channels) for job in batch]
    conditions = [given(enhancer, job.item) for job in batch]
    estimates = together(enhancer, waveforms, [job.item.id for job in batch], conditions)
    for job, estimate in zip(batch, estimates, strict=True):
        # Metrics are measured at one rate, whatever the model's.
        at_rate = audio.resample(estimate[None], enhancer.sample_rate, SCORING_RATE)[0]
        yield _outcome(job, at_rate, _target(job))


@torch.inference_mode()
def together(
    enhancer: Enhancer,
    waveforms: Sequence[Noisy],
    keys: Sequence[str],
    conditions: Sequence[Condition] = (),
) -> list[Waveform]:
    """Enhance waveforms in one pass, with the result of each waveform alone (within float precision).

    Shorter waveforms are padded with zeros. The output of a causal enhancer before the padding does not depend on it;
    other enhancers need equal lengths. Waveforms are enhanced one by one if the enhancer mirrors the ends of a file and
    their lengths differ, or if the shapes of their conditions differ. An enhancer that samples draws from a generator
    seeded with the key of the utterance.
    """
    rows_of = conditions or [{}] * len(waveforms)
    condition = stacked(rows_of)
    # Mirroring would reflect the padding instead of the end of the shorter waveform.
    mirrored = enhancer.mirrors and len({waveform.shape[-1] for waveform in waveforms}) > 1
    if condition is None or mirrored:
        each = zip(waveforms, keys, rows_of, strict=True)
        return [together(enhancer, [one], [key], [row])[0] for one, key, row in each]
    # `pad_sequence` pads the first axis, so that time comes first.
    rows = [torch.from_numpy(np.ascontiguousarray(waveform.T)) for waveform in waveforms]
    noisy = pad_sequence(rows, batch_first=True)
    if noisy.ndim == 3:
        noisy = rearrange(noisy, "batch time channel -> batch channel time")
    # One generator per utterance, seeded by its name: a sampling model gives the same output in any batch.
    estimate = enhancer(noisy, condition=condition, generator=generators(keys)).numpy()
    return [row[: own.shape[-1]] for row, own in zip(estimate, waveforms, strict=True)]


@lru_cache(maxsize=_KEPT)
def loaded(system: System) -> Enhancer | None:
    """Return `system.load()`; the last systems are cached."""
    return system.load()


def _target(job: Job) -> Waveform | None:
    if job.item.target is None:
        return None
    return read_audio(job.item.target, sample_rate=SCORING_RATE)


def _outcome_of_file(job: Job) -> Outcome:
    """Return the outcome for a system that consists of files: the noisy input, the target, enhanced files."""
    target = _target(job)
    if job.system.kind == "target":
        assert target is not None
        return _outcome(job, target, target)
    if job.system.kind == "noisy":
        return _outcome(job, read_noisy(job.item.noisy, sample_rate=SCORING_RATE), target)
    try:
        path = audio_files(Path(job.system.source))[job.item.id]
        return _outcome(job, read_audio(path, sample_rate=SCORING_RATE), target)
    except RasedError as error:
        # Files from elsewhere may be damaged in any way; then there is no score, and the status says why.
        length = 0 if target is None else len(target)
        verdict = Score(None, f"undefined: {error}")
        return Outcome(length / SCORING_RATE, dict.fromkeys(job.metrics, verdict))


def _outcome(job: Job, estimate: Waveform, target: Waveform | None) -> Outcome:
    """Save an estimate, and measure it."""
    if target is not None:
        # Before saving, so that the saved files are the ones that were scored.
        estimate = _fit(estimate, target, job)
    if job.save is not None:
        audio.write(job.save, rearrange(estimate, "time -> 1 time"), SCORING_RATE)
    heard, wanted = torch.from_numpy(estimate), None if target is None else torch.from_numpy(target)
    measured, late = _measured(heard, wanted, job)
    if job.align and late:
        heard = undelay(heard, late)
    scores = {name: _score(name, heard, wanted, job.item.text) for name in job.metrics}
    return Outcome(len(estimate) / SCORING_RATE, scores, measured)


def _measured(
    estimate: Float32[torch.Tensor, " time"],
    target: Float32[torch.Tensor, " time"] | None,
    job: Job,
) -> tuple[dict[str, float | None], int | None]:
    """Return `Utterance.measured`, and the delay in samples."""
    noisy = torch.from_numpy(read_noisy(job.item.noisy, sample_rate=SCORING_RATE))
    length = min(len(noisy), len(estimate))
    # Against the target if there is one: noise in the input would blur the maximum of the correlation.
    reference = noisy[:length] if target is None else target[:length]
    limit = round(DELAY_LIMIT * SCORING_RATE)
    late = delay(estimate=estimate[:length], reference=reference, limit=limit)
    levels = [float(rms(waveform)) for waveform in (estimate, noisy)]
    louder = 20 * math.log10(levels[0] / levels[1]) if min(levels) > 0 else None
    milliseconds = None if late is None else 1000 * late / SCORING_RATE
    return {
        "delay_ms": milliseconds,
        "level_db": None if louder is None else round(louder, 2),
    }, late


def _fit(
    estimate: Float32[np.ndarray, " time"], target: Float32[np.ndarray, " target_time"], job: Job
) -> Float32[np.ndarray, " target_time"]:
    difference = len(estimate) - len(target)
    if abs(difference) > SLACK * SCORING_RATE:
        raise RasedError(
            f"the estimate of '{job.item.id}' by '{job.system.name}' has {len(estimate)} samples, but "
            f"its target has {len(target)}: align them first."
        )
    return np.pad(estimate, (0, max(0, -difference)))[: len(target)]


def _score(
    name: str, estimate: torch.Tensor, target: torch.Tensor | None, text: str | None
) -> Score:
    ours = METRICS[name]
    if ours.needs_reference and target is None:
        return Score(None, "unavailable: the test set has no target")
    if ours.needs_text and text is None:
        return Score(None, "unavailable: the test set does not say what is said (a column `text`)")
    return ours(estimate=estimate, target=target, text=text, sample_rate=SCORING_RATE)

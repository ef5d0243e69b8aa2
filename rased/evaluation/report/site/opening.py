"""Start a page with one utterance before and after enhancement, and a sentence on the training."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rased.evaluation.result import Result
from rased.metrics import METRICS

FOLDER = "opening"
BEFORE, TARGET = "noisy", "target"
_HEARD = ("dnsmos-ovrl", "pesq-wb", "si-sdr", "stoi")
"""Metrics that choose the utterance; the first one that was measured is used."""


@dataclass(frozen=True)
class Opening:
    """One utterance to hear before and after.

    Attributes:
        system: system that enhanced it.
        story: what was trained, in a sentence.
        utterance: id of the utterance.
        sounds: (caption, path of the audio relative to the page), in playing order.
        gain: change of the metric, as text; "" if none was measured.
    """

    system: str
    story: str
    utterance: str
    sounds: list[tuple[str, str]]
    gain: str


def opening(
    rows: Sequence[Result], system: str, story: str, *, source: Path, folder: Path
) -> Opening | None:
    """Find the utterance that a system improves most, and copy its audio to the page; None without audio.

    Args:
        rows: results, including those of `system` and of the noisy input on one test set.
        system: name of the system.
        story: what was trained, in a sentence.
        source: folder with <testset>/<system>/<id>.wav.
        folder: folder of the page.
    """
    own = next((row for row in rows if row.name == system), None)
    if own is None:
        return None
    testset = str(own.testset["name"])
    before = [row for row in rows if (row.name, row.testset["name"]) == (BEFORE, testset)]
    heard = {path.stem for path in (source / testset / system).glob("*.wav")}
    if not before or not heard:
        return None
    utterance, gain = _most_improved(before[0], own, heard)
    sounds = []
    for name, caption in ((BEFORE, "before"), (system, "after"), (TARGET, "without noise")):
        path = source / testset / name / f"{utterance}.wav"
        if path.is_file():
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / FOLDER / f"{name}.wav")
            sounds.append((caption, f"{FOLDER}/{name}.wav"))
    return Opening(system, story, utterance, sounds, gain)


def _most_improved(before: Result, own: Result, heard: set[str]) -> tuple[str, str]:
    """Return the utterance with the largest gain in the first common metric of `_HEARD`, and the gain as text."""
    for metric in _HEARD:
        values, noisy = own.values(metric), before.values(metric)
        both = values.keys() & noisy.keys() & heard
        if both:
            # sorted: a tie gives the same utterance each time
            best = max(sorted(both), key=lambda one: values[one] - noisy[one])
            label = METRICS[metric].title
            return best, f"{label}: {noisy[best]:.2f} before, {values[best]:.2f} after"
    return min(heard), ""

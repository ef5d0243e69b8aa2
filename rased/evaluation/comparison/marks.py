"""Remarks that a reader must know before comparing a row with others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rased.evaluation.result import Result
from rased.metrics import METRICS

STATED = "†"
"""Shown after a figure that the submitter stated and nobody here measured."""

_COSTS = {
    "parameters": "parameters",
    "macs_per_second": "MACs/s",
    "algorithmic_latency_ms": "latency",
}
_LOUDER_DB = 1.0
_LATE_MS = 1.0
_MANY = 0.1
"""Share of the outputs above which a row is marked louder, late or early."""


@dataclass(frozen=True)
class Mark:
    """A remark on a row.

    Attributes:
        label: a few words, shown next to the name.
        sentence: the full remark.
        grave: whether the row is not comparable, or its scores may mislead.
    """

    label: str
    sentence: str
    grave: bool = False


def facts_to_know(seeds: Sequence[Result]) -> list[Mark]:
    """Return remarks that scores do not show, from training and outputs; those of any seed count."""
    each = {row.name: _facts(row) for row in seeds}
    found = []
    # `dict.fromkeys`: equal marks of several seeds become one, in order.
    for mark in dict.fromkeys(mark for own in each.values() for mark in own):
        holders = [name for name, own in each.items() if mark in own]
        some = "" if len(holders) == len(each) else f"{', '.join(holders)}: "
        found.append(replace(mark, sentence=some + mark.sentence))
    return found


def _facts(row: Result) -> list[Mark]:
    marks = []
    if row.system.get("imported"):
        marks.append(Mark("imported", f"imported from {row.system['imported']}."))
    training = row.training
    if training is not None:
        marks += [
            Mark("seen in training", f"not comparable: {sentence}.", grave=True)
            for sentence in training["overlap"]
        ]
        marks += [Mark(_unchecked(sentence), f"{sentence}.") for sentence in training["unchecked"]]
        scored = [METRICS[m].title for m in training["optimised"] if m in row.metrics]
        if scored:
            text = f"trained with {' and '.join(scored)}"
            marks.append(Mark(text, f"{text} in its loss."))
    marks += _stated(row.stated)
    if row.system["causal"] is False:
        marks.append(Mark("not causal", "not causal: needs the whole utterance."))
    if row.system["look_ahead"]:
        milliseconds = 1000 * row.system["look_ahead"] / row.system["sample_rate"]
        marks.append(Mark(f"+{milliseconds:.0f} ms", f"looks {milliseconds:.0f} ms ahead."))
    delays, levels = _measured(row, "delay_ms"), _measured(row, "level_db")
    early = [-delay for delay in delays]
    for word, found, least, unit, than in (
        ("late", delays, _LATE_MS, "ms", ""),
        ("early", early, _LATE_MS, "ms", ""),
        ("louder", levels, _LOUDER_DB, "dB", " than the input"),
    ):
        beyond = [value for value in found if value >= least]
        if len(beyond) > _MANY * len(found):
            count = f"{len(beyond)} of {len(found)} outputs"
            marks.append(Mark(word, f"{count} {word}{than}, by up to {max(beyond):.1f} {unit}."))
    return marks


def _stated(stated: Mapping[str, Any]) -> list[Mark]:
    """Return remarks on what a submitter states about a system: nobody here measured it."""
    marks = []
    costs = [word for name, word in _COSTS.items() if name in stated]
    if costs:
        text = f"{STATED} {', '.join(costs)}: stated by the submitter, not measured."
        marks.append(Mark(f"{STATED} stated", text))
    words = (("trained on", "training_data"), ("paper:", "paper"), ("see", "url"))
    said = [f"{word} {stated[name]}" for word, name in words if name in stated]
    if said:
        marks.append(Mark("stated origin", f"the submitter states: {'; '.join(said)}."))
    return marks


def _unchecked(sentence: str) -> str:
    """Return the label of something that `training_of` could not check."""
    words = {"overlap": "overlap unchecked", "whether": "causality unknown"}
    return words.get(sentence.partition(" ")[0], "training unknown")


def _measured(row: Result, name: str) -> list[float]:
    return [value for u in row.utterances if (value := u.measured.get(name)) is not None]

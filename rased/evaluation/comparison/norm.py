"""Which results compare: decided once for a board, by what most of them have in common."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rased.evaluation.comparison.marks import Mark
from rased.evaluation.result import Result
from rased.metrics import METRICS


@dataclass(frozen=True)
class Norm:
    """What a row must share with the others.

    Attributes:
        conduct: the protocol apart from metrics: rate, resampler, alignment, length.
        versions: by metric.
        utterances: by metric, those that means are taken over.
    """

    conduct: dict[str, Any]
    versions: dict[str, str]
    utterances: dict[str, frozenset[str]]


def norm_of(rows: Sequence[Result], metrics: Iterable[str]) -> Norm:
    """The protocol and versions of most rows, and the utterances for which half of these have a value.

    Where no protocol has most rows, that of the noisy input is the norm. A row that lacks a value on one of
    these utterances does not compare in that metric: who fails on what is hard must not gain by it.
    """
    ordered = sorted(rows, key=lambda row: (row.system["kind"] != "noisy", row.name))
    usual = _most([_spelt(row) for row in ordered])
    alike = [row for row in ordered if _spelt(row) == usual]
    versions, utterances = {}, {}
    for metric in metrics:
        own = [row for row in alike if metric in row.metrics]
        own = own or [row for row in ordered if metric in row.metrics]
        versions[metric] = _most([version(row, metric) for row in own])
        valued = [
            row.values(metric).keys()
            for row in own
            if version(row, metric) == versions[metric] and not row.missing(metric)
        ]
        voters = [names for names in valued if names]
        utterances[metric] = frozenset(
            name
            for name in set[str]().union(*voters)
            if 2 * sum(name in names for names in voters) >= len(voters)
        )
    return Norm(conduct(alike[0]), versions, utterances)


def conduct(row: Result) -> dict[str, Any]:
    """Its protocol apart from metrics."""
    return {key: value for key, value in row.protocol.items() if key != "metrics"}


def version(row: Result, metric: str) -> str:
    """What it measured the metric with."""
    return str(row.protocol["metrics"][metric]["version"])


def row_compares(row: Result, norm: Norm) -> bool:
    """Whether any number of it compares: the protocol is the usual one, and it has not seen the test."""
    return conduct(row) == norm.conduct and not (row.training or {}).get("overlap")


def metric_compares(row: Result, metric: str, norm: Norm) -> bool:
    """Whether its mean compares: a row that does, the usual version, all utterances, no value less than others."""
    return (
        row_compares(row, norm)
        and version(row, metric) == norm.versions[metric]
        and not row.missing(metric)
        and bool(norm.utterances[metric])
        and norm.utterances[metric] <= row.values(metric).keys()
    )


def differences(row: Result, norm: Norm) -> list[Mark]:
    """Marks of what it does not share with the others."""
    marks = []
    for metric in row.metrics:
        title = METRICS[metric].title
        ours, usual = version(row, metric), norm.versions[metric]
        if ours != usual:
            text = f"{title} by {ours}, other rows by {usual}: not comparable."
            marks.append(Mark(f"other {title}", text, grave=True))
    marks += _statuses(row, norm)
    empty = int(row.testset["count"]) - sum(bool(u.scores) for u in row.utterances)
    if missing := max((row.missing(metric) for metric in row.metrics), default=empty):
        text = f"incomplete, {missing} utterances to go: run the evaluation again."
        marks.append(Mark("incomplete", text, grave=True))
    for key, value in conduct(row).items():
        if value != norm.conduct.get(key):
            word = key.replace("_", " ")
            text = f"{word}: {value}, other rows: {norm.conduct.get(key)}; not comparable."
            marks.append(Mark(f"other {word}", text, grave=True))
    return marks


def not_shown(rows: Sequence[Result]) -> list[str]:
    """A sentence where results hold metrics that are not known here, such as those out of a file of one's own."""
    held = {name for row in rows for u in row.utterances for name in u.scores}
    names = sorted(held - METRICS.keys())
    if not names:
        return []
    return [
        f"Not shown, since this rased does not know {'it' if len(names) == 1 else 'them'}: {', '.join(names)} "
        "(--columns FILE.py:CLASS shows a metric of your own)."
    ]


def plain_name(testset: str) -> str:
    """Its letters and digits: "voicebank-demand" is "VoiceBank+DEMAND"."""
    return re.sub(r"[^a-z0-9]", "", testset.lower())


def _statuses(row: Result, norm: Norm) -> list[Mark]:
    """Statuses other than ok with the number of utterances that have them, one mark for equal ones."""
    found: dict[tuple[str, int, bool], list[str]] = {}
    for metric in row.metrics:
        own = {u.id: u.scores[metric].status for u in row.utterances if metric in u.scores}
        for status in dict.fromkeys(own.values()):
            if status != "ok":
                names = [name for name, other in own.items() if other == status]
                alone = not norm.utterances[metric].isdisjoint(names)
                titles = found.setdefault((status, len(names), alone), [])
                titles.append(METRICS[metric].title)
    marks = []
    for (status, count, alone), titles in found.items():
        text = f"{', '.join(titles)}: {status} ({count} of {len(row.utterances)} utterances)"
        why = ", where others have values: not comparable" if alone else ""
        marks.append(Mark(status.partition(":")[0], f"{text}{why}.", grave=alone))
    return marks


def _spelt(row: Result) -> str:
    return repr(sorted(conduct(row).items()))


def _most(found: Sequence[str]) -> str:
    """The most frequent, of several the first."""
    return max(dict.fromkeys(found), key=found.count)

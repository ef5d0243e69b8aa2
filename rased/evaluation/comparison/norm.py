"""Decide which results are comparable: once for a board, by what most of them have in common."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rased.evaluation.comparison.marks import Mark
from rased.evaluation.result import Result
from rased.metrics import METRICS


@dataclass(frozen=True)
class Norm:
    """What a row must share with the others to be comparable.

    Attributes:
        conduct: the protocol without the metrics: rate, resampler, alignment, length.
        versions: version of each metric.
        utterances: utterances over which means are computed, for each metric.
    """

    conduct: dict[str, Any]
    versions: dict[str, str]
    utterances: dict[str, frozenset[str]]


def norm_of(rows: Sequence[Result], metrics: Iterable[str]) -> Norm:
    """Return the protocol and versions of most rows, and the utterances for which at least half of these have a value.

    If no protocol has a majority, that of the noisy input is used. A row without a value for one of
    these utterances is not comparable in that metric: failing on difficult utterances must not be an advantage.
    """
    # The noisy input first: `_most` prefers earlier rows, so it decides where no protocol has a majority.
    ordered = sorted(rows, key=lambda row: (row.system["kind"] != "noisy", row.name))
    usual = _most([_spelt(row) for row in ordered])
    alike = [row for row in ordered if _spelt(row) == usual]
    versions, utterances = {}, {}
    for metric in metrics:
        own = [row for row in alike if metric in row.metrics]
        # No row of the usual protocol has it.
        own = own or [row for row in ordered if metric in row.metrics]
        versions[metric] = _most([version(row, metric) for row in own])
        valued = [
            row.values(metric).keys()
            for row in own
            if version(row, metric) == versions[metric] and not row.missing(metric)
        ]
        # Rows without any value have no vote.
        voters = [names for names in valued if names]
        utterances[metric] = frozenset(
            name
            for name in set[str]().union(*voters)
            # One failing system must not remove an utterance for all, and one lucky system must not add one.
            if 2 * sum(name in names for names in voters) >= len(voters)
        )
    return Norm(conduct(alike[0]), versions, utterances)


def conduct(row: Result) -> dict[str, Any]:
    """Return the protocol without the metrics."""
    return {key: value for key, value in row.protocol.items() if key != "metrics"}


def version(row: Result, metric: str) -> str:
    """Return the version of a metric in a result."""
    return str(row.protocol["metrics"][metric]["version"])


def row_compares(row: Result, norm: Norm) -> bool:
    """Return whether a row is comparable at all: it has the usual protocol, and was not trained on the test set."""
    return conduct(row) == norm.conduct and not (row.training or {}).get("overlap")


def metric_compares(row: Result, metric: str, norm: Norm) -> bool:
    """Return whether the mean of a metric is comparable: also the usual version, and a value for all utterances."""
    return (
        row_compares(row, norm)
        and version(row, metric) == norm.versions[metric]
        and not row.missing(metric)
        and bool(norm.utterances[metric])
        and norm.utterances[metric] <= row.values(metric).keys()
    )


def differences(row: Result, norm: Norm) -> list[Mark]:
    """Return marks for what a row does not share with the others."""
    marks = []
    for metric in row.metrics:
        title = METRICS[metric].title
        ours, usual = version(row, metric), norm.versions[metric]
        if ours != usual:
            text = f"{title} measured with {ours}, in other rows with {usual}: not comparable."
            marks.append(Mark(f"other {title}", text, grave=True))
    marks += _statuses(row, norm)
    empty = int(row.testset["count"]) - sum(bool(u.scores) for u in row.utterances)
    # A row without any metric has `empty` utterances.
    if missing := max((row.missing(metric) for metric in row.metrics), default=empty):
        text = f"incomplete, {missing} utterances are missing: run the evaluation again."
        marks.append(Mark("incomplete", text, grave=True))
    for key, value in conduct(row).items():
        if value != norm.conduct.get(key):
            word = key.replace("_", " ")
            text = f"{word}: {value}, other rows: {norm.conduct.get(key)}; not comparable."
            marks.append(Mark(f"other {word}", text, grave=True))
    return marks


def not_shown(rows: Sequence[Result]) -> list[str]:
    """Return a sentence if results contain metrics that are not known here, such as metrics from a user's file."""
    held = {name for row in rows for u in row.utterances for name in u.scores}
    names = sorted(held - METRICS.keys())
    if not names:
        return []
    return [
        f"Not shown, because this installation does not know {'it' if len(names) == 1 else 'them'}: {', '.join(names)} "
        "(--columns FILE.py:CLASS shows a metric of your own)."
    ]


def plain_name(testset: str) -> str:
    """Return the letters and digits of a name: "voicebank-demand" equals "VoiceBank+DEMAND"."""
    return re.sub(r"[^a-z0-9]", "", testset.lower())


def _statuses(row: Result, norm: Norm) -> list[Mark]:
    """Return one mark for each status other than ok, with the number of utterances that have it."""
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
        why = ", but other rows have values: not comparable" if alone else ""
        marks.append(Mark(status.partition(":")[0], f"{text}{why}.", grave=alone))
    return marks


def _spelt(row: Result) -> str:
    return repr(sorted(conduct(row).items()))


def _most(found: Sequence[str]) -> str:
    """Return the most frequent string; the first one if several are."""
    return max(dict.fromkeys(found), key=found.count)

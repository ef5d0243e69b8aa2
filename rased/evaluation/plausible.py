"""Check that a result file is possible: counts, statuses, and values within the range of their metric."""

from rased.errors import RasedError, shown
from rased.evaluation.schema import ResultFields, ScoreFields
from rased.metrics import METRICS
from rased.metrics.base import OK

_SLACK = 1e-4
"""Tolerance for values that rounding moves out of their range."""


def refuse_impossible(content: ResultFields) -> None:
    """Check the content of a result before objects are made from it.

    Raises:
        RasedError: what is impossible, without the name of the file.
    """
    rows, count = content.utterances, content.testset.count
    if len(rows) > count:
        raise RasedError(f"it has {len(rows)} utterances, but the test set has {count}")
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise RasedError(f"it contains the utterance {shown(row.id)} twice")
        seen.add(row.id)
        for metric, score in row.scores.items():
            where = f"'{metric}' of {shown(row.id)}"
            if metric not in content.protocol.metrics:
                raise RasedError(f"{where} is a metric that its protocol does not declare")
            _check_score(metric, score, where)


def _check_score(metric: str, score: ScoreFields, where: str) -> None:
    kind = score.status.partition(": ")[0]
    # Either "ok" and a value, or a reason and none.
    if kind not in (OK, "undefined", "unavailable") or (score.value is None) == (kind == OK):
        raise RasedError(
            f"{where} has both the value {score.value} and the status {shown(score.status)}"
        )
    if score.value is None or metric not in METRICS:
        return
    low, high = METRICS[metric].range
    if not low - _SLACK <= score.value <= high + _SLACK:
        raise RasedError(
            f"{where} is {score.value:g}, but the metric's range is {low:g} to {high:g}"
        )

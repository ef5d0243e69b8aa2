"""Whether what a result file says can be: counts, statuses, and values within the range of their metric."""

from rased.errors import RasedError, shown
from rased.evaluation.schema import ResultFields, ScoreFields
from rased.metrics import METRICS
from rased.metrics.base import OK

_SLACK = 1e-4
"""By which rounding may carry a value out of its range."""


def refuse_impossible(content: ResultFields) -> None:
    """Check the content of a result before it is made into objects.

    Raises:
        RasedError: what cannot be, without the name of the file.
    """
    rows, count = content.utterances, content.testset.count
    if len(rows) > count:
        raise RasedError(f"it holds {len(rows)} utterances of a test set of {count}")
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise RasedError(f"it holds the utterance {shown(row.id)} twice")
        seen.add(row.id)
        for metric, score in row.scores.items():
            where = f"'{metric}' of {shown(row.id)}"
            if metric not in content.protocol.metrics:
                raise RasedError(f"{where} is of a metric that its protocol does not declare")
            _check_score(metric, score, where)


def _check_score(metric: str, score: ScoreFields, where: str) -> None:
    kind = score.status.partition(": ")[0]
    if kind not in (OK, "undefined", "unavailable") or (score.value is None) == (kind == OK):
        raise RasedError(
            f"{where} has the value {score.value} and the status {shown(score.status)}"
        )
    if score.value is None or metric not in METRICS:
        return
    low, high = METRICS[metric].range
    if not low - _SLACK <= score.value <= high + _SLACK:
        raise RasedError(f"{where} is {score.value:g}, and the metric gives {low:g} to {high:g}")

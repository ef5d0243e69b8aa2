"""Whether what a result file says can be: fields, counts, statuses, and values within the range of their metric."""

import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from rased.errors import RasedError, nearest
from rased.metrics import METRICS
from rased.metrics.base import OK

_NEEDED = {
    "system": ("name", "kind", "sha256", "sample_rate", "latency", "look_ahead", "causal"),
    "testset": ("name", "count", "sample_rate", "target", "list_sha256"),
    "protocol": ("sample_rate", "resampler", "alignment", "length", "metrics"),
    "training": (
        *("manifest_sha256", "overlap", "checked", "unchecked"),
        *("recipe_sha256", "seed", "optimised", "config"),
    ),
}
_SCORE = ("value", "status")
_SLACK = 1e-4
"""By which rounding may carry a value out of its range."""


def refuse_impossible(content: Mapping[str, Any], *, result: type, utterance: type) -> None:
    """Check the content of a result, without schema and hash, before it is made into objects.

    Args:
        content: as JSON holds it.
        result: the dataclass whose fields it must have.
        utterance: that of its utterances.

    Raises:
        RasedError: what cannot be, without the name of the file.
    """
    _check_fields(content, [field.name for field in fields(result)], "it")
    for name, needed in _NEEDED.items():
        if name == "training" and content[name] is None:
            continue
        part = _mapping(content[name], f"its '{name}'")
        for field in needed:
            if field not in part:
                raise RasedError(f"its '{name}' lacks the field '{field}'")
    rows, count = content["utterances"], content["testset"]["count"]
    if not isinstance(rows, list) or not isinstance(count, int):
        raise RasedError("its 'utterances' are no list, or their count is no number")
    if len(rows) > count:
        raise RasedError(f"it holds {len(rows)} utterances of a test set of {count}")
    declared = _mapping(content["protocol"]["metrics"], "its 'protocol.metrics'")
    seen: set[str] = set()
    wanted = [field.name for field in fields(utterance)]
    for row in rows:
        _check_fields(row, wanted, "an utterance")
        for name in ("facts", "measured"):
            _mapping(row[name], f"'{name}' of '{row['id']}'")
        if str(row["id"]) in seen:
            raise RasedError(f"it holds the utterance '{row['id']}' twice")
        seen.add(str(row["id"]))
        for metric, score in _mapping(row["scores"], f"'scores' of '{row['id']}'").items():
            where = f"'{metric}' of '{row['id']}'"
            if metric not in declared:
                raise RasedError(f"{where} is of a metric that its protocol does not declare")
            _check_fields(score, _SCORE, where)
            _check_score(metric, score["value"], score["status"], where)


def _check_fields(given: Any, wanted: Collection[str], whose: str) -> None:
    given = _mapping(given, whose)
    for name in given:
        if name not in wanted:
            raise RasedError(f"{whose} has a field '{name}'; {nearest(str(name), wanted)}")
    for name in wanted:
        if name not in given:
            raise RasedError(f"{whose} lacks the field '{name}'")


def _check_score(metric: str, value: Any, status: Any, where: str) -> None:
    kind = str(status).partition(": ")[0]
    if kind not in (OK, "undefined", "unavailable") or (value is None) == (kind == OK):
        raise RasedError(f"{where} has the value {value} and the status '{status}'")
    if value is None or metric not in METRICS:
        return
    low, high = METRICS[metric].range
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RasedError(f"{where} is {value!r}, which is no finite number")
    if not low - _SLACK <= value <= high + _SLACK:
        raise RasedError(f"{where} is {value:g}, and the metric gives {low:g} to {high:g}")


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise RasedError(f"{what} holds no fields")
    return given

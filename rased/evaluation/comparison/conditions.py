"""Break results down: means by condition, and the worst utterances."""

from collections.abc import Sequence
from dataclasses import dataclass

from rased.errors import RasedError, nearest
from rased.evaluation.comparison.board import Board
from rased.evaluation.comparison.statistics import Interval, interval
from rased.evaluation.result import Utterance
from rased.evaluation.testset import KNOWN
from rased.metrics import METRICS

_EDGES: dict[str, tuple[float, ...]] = {
    "snr_db": (-10.0, -5.0, 0.0, 5.0, 10.0, 15.0, 20.0),
    "t60": (0.3, 0.6, 1.0, 2.0),
    "drr_db": (-10.0, -5.0, 0.0, 5.0, 10.0),
}
_UNITS = {"snr_db": "dB", "t60": "s", "drr_db": "dB"}
_ABSENT = {
    "snr_db": "no noise",
    "noise_type": "no noise",
    "t60": "no room",
    "drr_db": "no room",
    "room": "no room",
}
"""Name of the group of utterances without the fact."""

_FEW = 6


@dataclass(frozen=True)
class Group:
    """The utterances of one condition.

    Attributes:
        name: the value, or its range.
        count: number of utterances.
        means: system -> mean and interval; a system without values is absent.
    """

    name: str
    count: int
    means: dict[str, Interval]


@dataclass(frozen=True)
class Bad:
    """One of the worst utterances of a system.

    Attributes:
        system: name of the system.
        utterance: the utterance, with its facts from the test set.
        value: value of the metric; None if it has none.
        status: "ok", or why there is no value.
        baseline: the baseline's value; None if there is none.
    """

    system: str
    utterance: Utterance
    value: float | None
    status: str
    baseline: float | None


def by_condition(board: Board, metric: str, fact: str) -> list[Group]:
    """Return the means of a metric for each value of a fact; many values of SNR, T60 or DRR are grouped into ranges.

    Args:
        board: board of a test set.
        metric: one of its columns.
        fact: one of `testset.KNOWN`; utterances without it form a group of their own, last.

    Raises:
        RasedError: the board does not have the metric, the fact is unknown, or no utterance has it.
    """
    _check(board, metric)
    known = {u.id: u.facts for row in board.rows for u in row.result.utterances}
    found = []
    for label, names in grouped(board, fact).items():
        means = {}
        for row in board.rows:
            own = row.result.values(metric)
            here = [name for name in names if name in own]
            if here:
                speakers = [known[name].get("speaker") for name in here]
                means[row.name] = interval([own[name] for name in here], speakers)
        found.append(Group(label, len(names), means))
    return found


def grouped(board: Board, fact: str) -> dict[str, list[str]]:
    """Return the ids of the utterances of each condition, by the name of the condition, in its order.

    Raises:
        RasedError: the fact is unknown, or no utterance has it.
    """
    if fact not in KNOWN:
        raise RasedError(f"unknown fact '{fact}'; {nearest(fact, KNOWN)}")
    known = {u.id: u.facts for row in board.rows for u in row.result.utterances}
    values = {name: facts.get(fact) for name, facts in known.items()}
    distinct = {value for value in values.values() if value is not None}
    if not distinct:
        raise RasedError(f"no utterance of the test set '{board.name}' has the fact '{fact}'.")
    binned = fact in _EDGES and len(distinct) > _FEW
    groups: dict[tuple[bool, float, str], list[str]] = {}
    for name, value in values.items():
        groups.setdefault(_group(fact, value, binned), []).append(name)
    return {label: names for (_, _, label), names in sorted(groups.items())}


def worst(board: Board, metric: str, count: int) -> list[Bad]:
    """Return the utterances where each system lost most against the baseline, or scored lowest without a baseline.

    Utterances without a value of the system come first; those without a value of the baseline, whose loss is
    unknown, come last.

    Raises:
        RasedError: the board does not have the metric.
    """
    _check(board, metric)
    sign = 1 if METRICS[metric].direction == "higher" else -1
    held = next((row.result for row in board.rows if row.name == board.baseline), None)
    before = {} if held is None else held.values(metric)
    found = []
    for row in board.rows:
        if row.kind and row.name != board.baseline:
            bads = [
                Bad(row.name, u, score.value, score.status, before.get(u.id))
                for u in row.result.utterances
                if (score := u.scores.get(metric)) is not None
                and not score.status.startswith("unavailable")
            ]
            found += sorted(bads, key=lambda bad: _badness(bad, sign, held is None))[:count]
    return found


def _badness(bad: Bad, sign: int, alone: bool) -> tuple[int, float, str]:
    """Return the sort key of an utterance among the worst."""
    if bad.value is None:
        return 0, 0.0, bad.utterance.id
    if bad.baseline is None:
        # Without a baseline at all, the value itself is the loss; with one, an unknown loss comes last.
        return 1 if alone else 2, sign * bad.value, bad.utterance.id
    return 1, sign * (bad.value - bad.baseline), bad.utterance.id


def described(utterance: Utterance) -> str:
    """Return the facts of an utterance in one line."""
    facts = utterance.facts.items()
    return ", ".join(f"{name} {_shown(name, value)}" for name, value in facts if value is not None)


def _check(board: Board, metric: str) -> None:
    if metric not in board.metrics:
        raise RasedError(
            f"no result on '{board.name}' has the metric '{metric}'; {nearest(metric, board.metrics)}"
        )


def _group(fact: str, value: str | float | None, binned: bool) -> tuple[bool, float, str]:
    """Return sort key and name of the group of a value."""
    if value is None:
        return True, 0.0, _ABSENT.get(fact, "not said")
    if isinstance(value, str):
        return False, 0.0, value
    if not binned:
        return False, value, f"{value:g} {_UNITS.get(fact, '')}".rstrip()
    edges: Sequence[float] = _EDGES[fact]
    place = sum(value >= edge for edge in edges)  # the number of edges up to the value
    unit = _UNITS[fact]
    if place == 0:
        return False, float("-inf"), f"below {edges[0]:g} {unit}"
    if place == len(edges):
        return False, edges[-1], f"{edges[-1]:g} {unit} and more"
    return False, edges[place - 1], f"{edges[place - 1]:g} to {edges[place]:g} {unit}"


def _shown(name: str, value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g} {_UNITS.get(name, '')}".rstrip()

"""Costs of systems: columns of the table and axes of the figure."""

import math
from dataclasses import dataclass

from rased.evaluation.comparison.board import Board
from rased.evaluation.comparison.rows import Row
from rased.evaluation.report.terminal import compact, latency_of


@dataclass(frozen=True)
class Cost:
    """One kind of cost; less is better.

    Attributes:
        heading: heading of the column.
        unit: unit.
        title: title of the axis; "" if it is not used as an axis.
        letters: the number is shown with K, M or G.
    """

    heading: str
    unit: str
    title: str
    letters: bool = False


COSTS = {
    "parameters": Cost("Parameters", "", "Parameters", letters=True),
    "macs_per_second": Cost("MACs/s", "", "MACs per second", letters=True),
    "real_time_factor": Cost("RTF", "", "Real-time factor, one thread"),
    "latency": Cost("Latency", "ms", ""),
    "peak_memory_mb": Cost("Memory", "MB", "Memory in MB"),
}


def costs_of(row: Row) -> dict[str, int | float | None]:
    """Return the costs by name; None if unknown, infinite latency for a system that needs the whole file."""
    system, cost = row.result.system, row.result.cost
    if system["parameters"] is None:
        return dict.fromkeys(COSTS)
    total = latency_of(row.result).total_ms
    return {
        "parameters": system["parameters"],
        "macs_per_second": system["macs_per_second"],
        "real_time_factor": cost["real_time_factor"],
        "latency": math.inf if system["latency"] is None else total,
        "peak_memory_mb": cost["peak_memory_mb"],
    }


def stated_of(row: Row) -> dict[str, int | float | None]:
    """Return the costs that the submitter of enhanced files states, by name; figures do not use them."""
    stated = row.result.stated
    told = {name: stated.get(name) for name in ("parameters", "macs_per_second")}
    if stated:
        told["latency"] = latency_of(row.result).total_ms
    return {name: value for name, value in told.items() if value is not None}


def latency_parts(row: Row) -> str:
    """Return window and look-ahead, and the hop, in ms; "" if the latency is unknown."""
    return latency_of(row.result).parts


def columns(board: Board) -> list[str]:
    """Return the costs that any system has or states."""
    priced = [costs_of(row) | stated_of(row) for row in board.rows]
    return [name for name in COSTS if any(own[name] for own in priced)]


def axes(board: Board) -> dict[str, str]:
    """Return the costs to plot against, with their titles; those that most systems have come first.

    Classical methods have neither parameters nor counted MACs, only time and memory.
    """
    priced = [costs_of(row) for row in board.rows]
    having = {name: sum(bool(own[name]) for own in priced) for name in COSTS if COSTS[name].title}
    known = sorted((name for name in having if having[name]), key=lambda name: -having[name])
    return {name: COSTS[name].title for name in known}


def shown(name: str, value: int | float | None) -> tuple[str, str]:
    """Format a cost: the number, and the letter after it.

    >>> shown("parameters", 1_050_000), shown("latency", 48.0), shown("latency", math.inf)
    (('1.05', 'M'), ('48', ''), ('all', ''))
    """
    if value is None:
        return "", ""
    if COSTS[name].letters:
        number, _, letter = compact(value).partition(" ")
        return number, letter
    if math.isinf(value):
        return "all", ""
    return (f"{value:.3f}" if name == "real_time_factor" else f"{value:.0f}"), ""

"""Data of the page's figures as plain values: scores of every utterance, means, costs, conditions."""

from collections.abc import Sequence
from typing import Any

from rased.evaluation.comparison.board import Board
from rased.evaluation.comparison.conditions import grouped
from rased.evaluation.comparison.published import Published
from rased.evaluation.comparison.rows import Row
from rased.evaluation.report.site.chips import chips
from rased.evaluation.report.site.costs import axes, costs_of
from rased.evaluation.report.terminal import decimals
from rased.metrics import METRICS

_FACTS = {
    "snr_db": "SNR",
    "t60": "T60",
    "drr_db": "DRR",
    "noise_type": "Noise type",
    "speaker": "Speaker",
    "condition": "Condition",
    "room": "Room",
}


def figure_data(board: Board, published: Sequence[Published]) -> dict[str, Any]:
    """Return the data of a board; `values` are in the order of `ids`, null for a missing value."""
    ids = sorted({u.id for row in board.rows for u in row.result.utterances})
    return {
        "baseline": board.baseline,
        "ids": ids,
        "metrics": {name: _metric(name) for name in board.metrics},
        "costs": axes(board),
        "facts": {fact: _fact(board, fact, ids) for fact in facts_known(board)},
        "systems": [_system(row, board, ids) for row in board.rows],
        "published": [
            {
                "name": row.name,
                "parameters": row.parameters,
                "macs_per_second": row.macs_per_second,
                "scores": row.scores,
            }
            for row in published
        ],
    }


def facts_known(board: Board) -> dict[str, str]:
    """Return the facts in which the utterances of the test set differ, with their headings."""
    facts = [utterance.facts for row in board.rows for utterance in row.result.utterances]
    return {
        name: title for name, title in _FACTS.items() if len({of.get(name) for of in facts}) > 1
    }


def _metric(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {
        "title": metric.title,
        "unit": metric.unit,
        "digits": decimals(name),
        "higher": metric.direction == "higher",
    }


def _fact(board: Board, fact: str, ids: Sequence[str]) -> dict[str, Any]:
    groups = grouped(board, fact)
    place = {name: number for number, names in enumerate(groups.values()) for name in names}
    return {"groups": list(groups), "of": [place[name] for name in ids]}


def _system(row: Row, board: Board, ids: Sequence[str]) -> dict[str, Any]:
    known, prices = chips(row), costs_of(row)
    return {
        "name": row.name,
        "kind": row.result.system["kind"],
        "chips": [chip.label for chip in known],
        "grave": any(chip.grave for chip in known),
        "costs": {name: prices[name] for name in axes(board)},
        "means": {
            metric: {
                "mean": cell.interval.mean,
                "low": cell.interval.ends[0],
                "high": cell.interval.ends[1],
                "comparable": cell.comparable,
            }
            for metric, cell in row.cells.items()
            if cell.interval is not None
        },
        "values": {metric: _values(row, metric, ids) for metric in row.cells},
    }


def _values(row: Row, metric: str, ids: Sequence[str]) -> list[float | None]:
    own, digits = row.result.values(metric), decimals(metric) + 1  # one digit more than shown
    return [round(own[name], digits) if name in own else None for name in ids]

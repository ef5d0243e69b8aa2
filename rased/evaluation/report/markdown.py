"""Format leaderboards as Markdown tables."""

from collections.abc import Sequence

from rased.evaluation.comparison.board import BASELINE, Board, boards, showing
from rased.evaluation.comparison.rows import ALPHA
from rased.evaluation.report.terminal import (
    LEGEND,
    VERDICTS,
    costs,
    decimals,
    plus_minus,
    processor_of,
    rank_of,
)
from rased.evaluation.result import Result
from rased.metrics import METRICS
from rased.terminal import markdown_cell, markdown_name

_COSTS = ("parameters", "MACs/s", "RTF", "latency (ms)", "memory (MB)")
_SIGNS = {"better": " ▲", "worse": " ▼", "": ""}


def markdown(
    rows: Sequence[Result], *, baseline: str = BASELINE, columns: Sequence[str] = ()
) -> str:
    """Return a table for each test set, with its marks, and one legend after all tables.

    Args:
        rows: results.
        baseline: system that the others are compared with.
        columns: metrics to show; empty: all.

    Raises:
        RasedError: no result has a column.
    """
    found = [showing(board, columns) for board in boards(rows, baseline=baseline)]
    names = dict.fromkeys(name for board in found if (name := processor_of(board)))
    verdicts = VERDICTS.format(baseline=baseline, alpha=ALPHA)
    legend = LEGEND.format(verdicts=verdicts, processor=", ".join(names) or "no processor")
    return "\n\n".join([*map(_table, found), f"{legend}."])


def _table(board: Board) -> str:
    priced = [costs(row.result) for row in board.rows]
    kept = [place for place in range(len(_COSTS)) if any(price[place] for price in priced)]
    head = [
        "system",
        "rank",
        *(METRICS[metric].title for metric in board.metrics),
        *(_COSTS[place] for place in kept),
    ]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1)]
    for row, price in zip(board.rows, priced, strict=True):
        cells = []
        for metric in board.metrics:
            cell = row.cells.get(metric)
            if cell is None or cell.interval is None:
                cells.append("")
                continue
            digits = decimals(metric)
            shown = f"{cell.interval.mean:.{digits}f}"
            shown = f"**{shown}**" if cell.best and row.kind else shown
            shown = shown if cell.comparable else f"~~{shown}~~"
            sign = _SIGNS[cell.verdict if row.kind else ""]
            cells.append(f"{shown}{plus_minus(cell.interval, digits)}{sign}")
        lines.append(
            [markdown_name(row.name), rank_of(row), *cells, *(price[place] for place in kept)]
        )
    notes = {
        markdown_cell(f"{row.name}: {mark.sentence}") for row in board.rows for mark in row.marks
    }
    facts = board.testset
    return "\n".join(
        [
            f"**{markdown_cell(board.name)}**, {facts['count']} utterances, target: "
            f"{markdown_cell(str(facts['target']))}",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            *(
                ["", " ".join([*sorted(notes), *map(markdown_cell, board.notes)])]
                if notes or board.notes
                else []
            ),
        ]
    )

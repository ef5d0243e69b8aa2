"""Which metrics of a board are looked at first, and who is best in them."""

from collections.abc import Sequence

from rased.evaluation.board import Board
from rased.evaluation.leaderboard import decimals
from rased.evaluation.statistics import paired
from rased.metrics import METRICS

LEADING = (
    "pesq-wb",
    "stoi",
    "estoi",
    "si-sdr",
    "srmr",
    "dnsmos-ovrl",
    "utmos",
    "speaker-similarity",
    "wer",
    "dwer",
)
"""One or two of each kind; the others say much the same again."""

_FEW = 7


def at_first(metrics: Sequence[str]) -> list[str]:
    """Metrics to show before anyone asks for more: all of a few, else the leading ones."""
    leading = [metric for metric in metrics if metric in LEADING]
    return leading if leading and len(metrics) > _FEW else list(metrics)


def leaders(board: Board, metric: str) -> set[str]:
    """Names of the rows that are best in a metric, as far as anyone can tell.

    The best mean, and all whose paired 95 % interval against it holds zero; the target, and rows that
    do not compare, aside.
    """
    sign = 1 if METRICS[metric].direction == "higher" else -1
    means = {
        row.name: sign * cell.interval.mean
        for row in board.rows
        if row.result.system["kind"] != "target"
        and (cell := row.cells.get(metric)) is not None
        and cell.interval is not None
        and cell.comparable
    }
    if not means:
        return set()
    rows = {row.name: row.result for row in board.rows}
    best = rows[max(means, key=lambda name: means[name])]
    speakers = {utterance.id: utterance.facts.get("speaker") for utterance in best.utterances}
    held = best.values(metric)
    found = set()
    for name in means:
        difference = paired(held, rows[name].values(metric), speakers)
        if difference is not None and not difference.excludes_zero:
            found.add(name)
    return found


def padded(value: int | float, metric: str) -> str:
    """A figure that others published: its own digits, blanks as wide for those it lacks.

    >>> padded(2.9, "pesq-wb").replace(chr(0x2007), "_"), padded(0.9347, "stoi")
    ('2.9_', '0.935')
    """
    wanted = decimals(metric)
    text = f"{value:.{wanted}f}"
    own = len(f"{value:g}".partition(".")[2])
    if own >= wanted:
        return text
    if own == 0:
        return f"{value:.0f}\u2008" + "\u2007" * wanted
    return f"{value:.{own}f}" + "\u2007" * (wanted - own)

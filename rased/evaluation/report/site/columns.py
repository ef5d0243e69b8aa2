"""Which metrics of a board are looked at first."""

from collections.abc import Sequence

from rased.evaluation.report.terminal import decimals

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

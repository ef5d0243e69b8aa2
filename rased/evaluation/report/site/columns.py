"""Choose the metrics of a board that are shown first."""

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
"""One or two metrics of each kind; the others are strongly correlated with these."""

_FEW = 7


def at_first(metrics: Sequence[str]) -> list[str]:
    """Return the metrics that are shown first: all if there are few, else the leading ones."""
    leading = [metric for metric in metrics if metric in LEADING]
    return leading if leading and len(metrics) > _FEW else list(metrics)


def padded(value: int | float, metric: str) -> str:
    """Format a published score with its own digits, padded with blanks as wide as the missing digits.

    >>> padded(2.9, "pesq-wb").replace(chr(0x2007), "_"), padded(0.9347, "stoi")
    ('2.9_', '0.935')
    """
    wanted = decimals(metric)
    text = f"{value:.{wanted}f}"
    own = len(f"{value:g}".partition(".")[2])
    if own >= wanted:
        return text
    if own == 0:
        # A punctuation space is as wide as the point, a figure space as wide as a digit.
        return f"{value:.0f}\u2008" + "\u2007" * wanted
    return f"{value:.{own}f}" + "\u2007" * (wanted - own)

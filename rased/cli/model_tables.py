"""The table of `rased models`, on a terminal and in Markdown."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rased.terminal import markdown_cell, markdown_name, open_console

_NUMBERS = (
    "latency\n(ms)",
    "para-\nmeters",
    "pub-\nlished",
    "MACs\nper s",
    "parity",
    "training\n(s/s)",
    "training\n(MB/s)",
    "RTF",
    "memory\n(MB)",
    "10 min\n(dB)",
)
_WIDE = 175
"""Columns of a terminal from which on the table shows the paper."""


@dataclass(frozen=True)
class Row:
    """One architecture or method.

    Attributes:
        name: of the YAML (`rased train -c model/NAME`), or of the method (`rased evaluate NAME`).
        story: how it is trained: mask, mapping, complex or waveform; "classical" if it is not trained.
        domain: frequency or time.
        causal: whether it can stream.
        algorithmic_latency_ms: window and look-ahead; None if it needs the whole utterance (as the next two).
        buffering_ms: the hop.
        latency_ms: the sum of both, as in the DNS Challenge.
        parameters: number of parameters, as built here.
        published_parameters: number that others give for this configuration; None if nobody does.
        published_in: where that number is from: a paper, or code in which it was counted.
        macs_per_second: multiply-accumulates for one second of audio; None for a classical method.
        paper: authors, title, venue, DOI or arXiv.
        parity: source of the authors' code, and max_error, the largest difference to its output; None if not compared.
        training_speed: seconds of audio per processor second in `rased train`; None if not measured (as the next
            three).
        training_memory_mb_per_second: peak memory that each second of audio in a batch takes in training.
        real_time_factor: processor seconds per second of audio.
        memory_mb: memory that enhancing 10 s adds.
        ten_minute_si_sdr_gain: dB of SI-SDR over the noisy input after a training of ten CPU minutes; None if not
            trained so.
    """

    name: str
    story: str
    domain: str
    causal: bool
    algorithmic_latency_ms: float | None
    buffering_ms: float | None
    latency_ms: float | None
    parameters: int
    published_parameters: int | None
    published_in: str
    macs_per_second: int | None
    paper: str
    parity: dict[str, Any] | None = None
    training_speed: float | None = None
    training_memory_mb_per_second: float | None = None
    real_time_factor: float | None = None
    memory_mb: float | None = None
    ten_minute_si_sdr_gain: float | None = None

    @property
    def parity_error(self) -> float | None:
        """Return the largest difference to the output of the authors' code."""
        return None if self.parity is None else float(self.parity["max_error"])


def print_table(rows: list[Row]) -> None:
    """Print one line for each row; the paper, cut to the width of the terminal, only if it is wide enough."""
    from rich.table import Table

    console = open_console()
    if not console.is_terminal:
        console = open_console(width=_WIDE)
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, expand=wide)
    for title in ("name", "story", "domain")[: 3 if wide else 1]:
        table.add_column(title, no_wrap=True)
    for title in _NUMBERS:
        table.add_column(title, justify="right", no_wrap=True)
    if wide:
        table.add_column("paper", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        kind, paper = ((row.story, row.domain), (row.paper,)) if wide else ((), ())
        table.add_row(row.name, *kind, *_numbers(row), *paper)
    console.print(table)


def _numbers(row: Row) -> tuple[str, ...]:
    return (
        _latency(row),
        _short(row.parameters),
        _short(row.published_parameters),
        _short(row.macs_per_second),
        _difference(row),
        _short(row.training_speed),
        _short(row.training_memory_mb_per_second),
        _factor(row),
        _short(row.memory_mb),
        _gain(row),
    )


def _latency(row: Row) -> str:
    if row.latency_ms is None:
        return "whole file"
    parts = (row.latency_ms, row.algorithmic_latency_ms, row.buffering_ms)
    return "{:.3g} ({:.3g} + {:.3g})".format(*parts)


def _difference(row: Row) -> str:
    return "" if row.parity_error is None else f"{row.parity_error:.0e}"


def _factor(row: Row) -> str:
    return "" if row.real_time_factor is None else f"{row.real_time_factor:.3f}"


def _gain(row: Row) -> str:
    gain = row.ten_minute_si_sdr_gain
    return "" if gain is None else f"{gain:.1f}"


def _short(number: int | float | None) -> str:
    if number is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return the table in Markdown; `columns` are keys of `HEADINGS`."""
    lines = [["name", *(HEADINGS[column] for column in columns)]]
    lines.append(["---", *("---" if column in _WORDS else "--:" for column in columns)])
    for row in rows:
        lines.append([markdown_name(row.name), *(_CELLS[column](row) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cited(paper: str) -> str:
    """Return the first author and the year, with a link.

    >>> cited("Rong, Sun: GTCRN: a model. ICASSP 2024, doi:10.1109/ICASSP48485.2024.10448310")
    '[Rong 2024](https://doi.org/10.1109/ICASSP48485.2024.10448310)'
    """
    author = re.split(r"[,:]| and ", paper)[0]
    years = re.findall(r"\b(?:19|20)\d\d\b", re.split(r"doi:|arXiv:", paper)[0])
    name = markdown_cell(" ".join([author, *years[:1]]))
    place = re.search(r"(doi|arXiv):([^\s,;)]+)", paper)
    if place is None:
        return name
    address = {"doi": "https://doi.org/", "arXiv": "https://arxiv.org/abs/"}[place[1]]
    return f"[{name}]({address}{place[2].rstrip('.')})"


def _code(row: Row) -> str:
    if row.parity is None:
        return ""
    address, _, version = row.parity["source"].partition(" ")
    return (
        f"[{markdown_cell('/'.join(address.split('/')[-2:]))}]({address}) {markdown_cell(version)}"
    )


def _published(row: Row) -> str:
    if row.published_parameters is None:
        return ""
    return f"{_short(row.published_parameters)} ({markdown_cell(row.published_in)})"


HEADINGS = {
    "paper": "paper",
    "story": "training",
    "domain": "domain",
    "causal": "causal",
    "latency_ms": "latency (ms)",
    "parameters": "parameters",
    "published_parameters": "published",
    "macs_per_second": "MACs/s",
    "parity": "authors' code",
    "parity_error": "difference",
    "real_time_factor": "RTF",
    "training_speed": "training (s/s)",
    "training_memory_mb_per_second": "training (MB/s)",
    "memory_mb": "memory (MB)",
    "ten_minute_si_sdr_gain": "10 min (dB)",
}
"""Columns of the table in Markdown."""
_WORDS = ("paper", "story", "domain", "causal", "parity")
_CELLS: dict[str, Callable[[Row], str]] = {
    "paper": lambda row: cited(row.paper),
    "story": lambda row: row.story,
    "domain": lambda row: row.domain,
    "causal": lambda row: "yes" if row.causal else "no",
    "latency_ms": _latency,
    "parameters": lambda row: _short(row.parameters),
    "published_parameters": _published,
    "macs_per_second": lambda row: _short(row.macs_per_second),
    "parity": _code,
    "parity_error": _difference,
    "real_time_factor": _factor,
    "training_speed": lambda row: _short(row.training_speed),
    "training_memory_mb_per_second": lambda row: _short(row.training_memory_mb_per_second),
    "memory_mb": lambda row: _short(row.memory_mb),
    "ten_minute_si_sdr_gain": _gain,
}

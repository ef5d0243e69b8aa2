"""Output that several verbs share: durations in words, JSON, a progress bar on stderr."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def duration(seconds: float) -> str:
    """Return a duration in words.

    >>> duration(5025.4), duration(59.6)
    ('1 h 23 min 45 s', '1 min 00 s')
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min {rest:02d} s"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def print_json(content: Any) -> None:
    """Print plain data as JSON."""
    print(json.dumps(content, ensure_ascii=False, indent=1))


@contextmanager
def progress_bar(what: str) -> Iterator[Any]:
    """Give a function (done, total) that moves a progress bar on stderr; draw nothing without a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TimeRemainingColumn,
    )

    from rased.terminal import PlainColumn, open_console

    columns = (PlainColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = open_console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

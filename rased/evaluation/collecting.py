"""Results from files and folders, and which of them have no place beside others."""

from collections.abc import Iterable
from pathlib import Path

from rased.errors import RasedError
from rased.evaluation import result as results
from rased.evaluation.result import Result


def collect(places: Iterable[str | Path], refused: list[RasedError] | None = None) -> list[Result]:
    """Load results from files and folders (all *.json in them).

    Args:
        places: files and folders.
        refused: takes the errors of files that have no place beside others, and the rest are returned;
            None: the first such error is raised.

    Raises:
        RasedError: nothing there, an unknown schema, a file that was changed by hand, or a system that
            was trained or validated on what it is tested on.
    """
    found: list[Result] = []
    for place in map(Path, places):
        files = sorted(place.glob("*--*.json")) if place.is_dir() else [place]
        if not files:
            raise RasedError(
                f"the folder '{place}' holds no results: make some with `rased evaluate`."
            )
        for file in files:
            try:
                found.append(_accepted(file))
            except RasedError as error:
                if refused is None:
                    raise
                refused.append(error)
    return found


def _accepted(file: Path) -> Result:
    row = results.load(file)
    seen = (row.training or {}).get("overlap", ())
    if seen:
        raise RasedError(
            f"'{file}' has no place beside others: {'; '.join(seen)}. Take it away, or train without them."
        )
    return row

"""Collect results from files and folders; reject those that must not be compared."""

from collections.abc import Iterable
from pathlib import Path

from rased.errors import RasedError
from rased.evaluation import result as results
from rased.evaluation.result import Result


def collect(places: Iterable[str | Path], refused: list[RasedError] | None = None) -> list[Result]:
    """Load results from files and folders (all *.json in them).

    Args:
        places: files and folders.
        refused: list that receives the errors of rejected files, so that the other results are returned;
            None: raise the first error.

    Raises:
        RasedError: no results, an unknown schema, a file that was edited by hand, or a system that
            was trained or validated on the test set.
    """
    found: list[Result] = []
    for place in map(Path, places):
        # `file_name`; other JSON files are left alone
        files = sorted(place.glob("*--*.json")) if place.is_dir() else [place]
        if not files:
            raise RasedError(
                f"the folder '{place}' contains no results: make some with `rased evaluate`."
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
            f"'{file}' cannot be compared with others: {'; '.join(seen)}. Remove it, or train without these data."
        )
    return row

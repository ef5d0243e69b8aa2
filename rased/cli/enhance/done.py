"""Remember what was enhanced, so that the same is not enhanced again: a line for each file, beside the outputs."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rased.conditions import Condition
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.models.identity import fingerprint

NAME = ".enhanced.jsonl"
Facts = list[int] | None


def settings_key(enhancer: Enhancer, condition: Condition, band: str) -> str:
    """Return a hash of all that determines an output besides its input."""
    digest = hashlib.sha256(f"{fingerprint(enhancer)} {band}\n".encode())
    for name, tensor in sorted(condition.items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


class Done:
    """The files that are done with the same settings.

    A file is done if its input has the size and the time of change that it had before it was read, the settings are
    the same, and the output has the size and time that it had when it was written. The lines of a killed run count up
    to the last whole one.
    """

    def __init__(self, settings: str) -> None:
        self._settings = settings
        self._known: dict[Path, dict[str, Any]] = {}

    def holds(self, source: Path, target: Path) -> bool:
        """Return whether a file is done."""
        row = self._rows(target.parent).get(target.name)
        return row is not None and row == self._row(facts(source), target)

    def add(self, seen: Facts, target: Path) -> None:
        """Record a file that was just written, from an input with these facts before it was read."""
        row = self._row(seen, target)
        self._rows(target.parent)[target.name] = row
        try:
            with (target.parent / NAME).open("a", encoding="utf-8") as file:
                # A line that a killed run left unfinished ends here.
                file.write("\n" + json.dumps({"output": target.name, **row}) + "\n")
        except OSError as error:
            raise RasedError(f"cannot write '{target.parent / NAME}': {error.strerror}.") from None

    def _row(self, seen: Facts, target: Path) -> dict[str, Any]:
        return {"settings": self._settings, "input": seen, "written": facts(target)}

    def _rows(self, folder: Path) -> dict[str, Any]:
        if folder not in self._known:
            self._known[folder] = _read(folder / NAME)
        return self._known[folder]


def facts(path: Path) -> Facts:
    """Return the size of a file and its time of change; None if it cannot be found."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _read(path: Path) -> dict[str, Any]:
    """Return the last row of each output; lines that are damaged are ignored."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    rows = {}
    for line in lines:
        try:
            row = json.loads(line)
            rows[str(row.pop("output"))] = row
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            continue
    return rows

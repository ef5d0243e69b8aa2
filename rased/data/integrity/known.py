"""Look up index rows and shard contents by key, for millions of samples in little memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rased.data.columns import Kind, hexadecimal
from rased.data.schemas import CHANNELS, COLUMNS, Head, read_index_parts
from rased.data.shards.index import INDEX
from rased.data.shards.tables import temporary_table
from rased.errors import RasedError

_PIECE = 1 << 16
TEXTS = ("key", "split", "label")
ALL: dict[str, Kind] = {
    **dict.fromkeys(COLUMNS, "small"),
    "key": "key",
    "split": "split",
    "label": "label",
    "sha256": "hash",
}
SUMS: dict[str, Kind] = {**ALL, "key": "length", "offset": "length", "sha256": "length"}
"""Columns for `read_columns`: all of them, or those needed for sums over splits."""


@dataclass(frozen=True)
class StoredIndex:
    """An index as stored: its head, and its columns as compact arrays."""

    head: Head
    columns: Mapping[str, Any]


def load(folder: Path, kinds: Mapping[str, Kind] = ALL) -> tuple[StoredIndex | None, str]:
    """Return the index of a folder, or None and why it cannot be used."""
    if not (folder / INDEX).is_file():
        return None, f"{INDEX} is missing"
    try:
        return StoredIndex(*read_index_parts(folder / INDEX, kinds, repair="")), ""
    except RasedError as error:
        return None, str(error).replace(f"'{folder / INDEX}'", INDEX).rstrip(". ")


class Known(Mapping[str, dict[str, Any]]):
    """The rows of an index by key, with shard and licence as names; the last row of a duplicate key."""

    def __init__(self, stored: StoredIndex | None) -> None:
        """Sort the keys of an index from `load`; None: no rows."""
        self._stored = stored
        self._keys = np.empty(0, np.bytes_) if stored is None else stored.columns["key"]
        self._order = np.argsort(self._keys, kind="stable")
        self._last = np.ones(len(self._keys), np.bool_)
        # Piece by piece, to avoid a second copy of all keys.
        for start in range(0, len(self._keys), _PIECE):
            some = self._keys[self._order[start : start + _PIECE + 1]]
            # The last one of a run of equal keys is followed by another key; pieces overlap by one.
            self._last[start : start + len(some) - 1] = some[1:] != some[:-1]

    def __len__(self) -> int:
        """Return the number of keys."""
        return int(self._last.sum())

    def __iter__(self) -> Iterator[str]:
        """Yield the keys, sorted."""
        return (self._keys[self._order[place]].decode() for place in np.flatnonzero(self._last))

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return the row of a key, as plain values."""
        wanted = np.array([key.encode()])
        # A longer key cannot match, and numpy would widen all keys.
        if wanted.itemsize > self._keys.itemsize:
            raise KeyError(key)
        wanted = wanted.astype(self._keys.dtype)
        # The last of equal keys, thanks to the stable sort.
        place = int(np.searchsorted(self._keys, wanted, side="right", sorter=self._order)[0]) - 1
        if place < 0 or self._keys[self._order[place]] != wanted[0]:
            raise KeyError(key)
        assert self._stored is not None
        row, columns = int(self._order[place]), self._stored.columns
        numbers = [*(name for name in COLUMNS if ALL[name] == "small"), CHANNELS]
        values = {name: columns[name][row].item() for name in numbers}
        return {
            **{name: columns[name][row].decode() for name in TEXTS},
            **values,
            "shard": self._stored.head.shards[values["shard"]].name,
            "licence": self._stored.head.licences[values["licence"]],
            "sha256": next(hexadecimal(columns["sha256"][row : row + 1])),
        }


class Seen:
    """The content of the shards of several folders, in a temporary database on disk."""

    def __init__(self) -> None:
        """Create an empty database."""
        self._table = temporary_table(self)
        self._table.execute(
            "CREATE TABLE keys (folder, key, PRIMARY KEY (folder, key)) WITHOUT ROWID"
        )
        self._table.execute("CREATE TABLE places (folder, kind, value, split)")

    def add(self, folder: Path, key: str) -> bool:
        """Record a key of a folder; return whether it is new there."""
        added = self._table.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (str(folder), key))
        return added.rowcount == 1

    def has(self, folder: Path, key: str) -> bool:
        """Return whether a key of a folder was recorded."""
        found = self._table.execute(
            "SELECT 1 FROM keys WHERE folder = ? AND key = ?", (str(folder), key)
        )
        return found.fetchone() is not None

    def remember(self, folder: Path, kind: str, value: str, split: str) -> None:
        """Record in which split of a folder something occurs."""
        row = (str(folder), kind, value, split)
        self._table.execute("INSERT INTO places VALUES (?, ?, ?, ?)", row)

    def shared(self, folders: Sequence[Path]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Yield what occurs in several splits of these folders: (kind, value, splits), sorted."""
        marks = ", ".join("?" * len(folders))
        rows = self._table.execute(
            f"SELECT kind, value, json_group_array(DISTINCT split) FROM places WHERE folder IN ({marks}) "
            # min < max: at least two different splits.
            "GROUP BY kind, value HAVING min(split) < max(split)",
            [str(folder) for folder in folders],
        )
        for kind, value, splits in rows:
            yield kind, value, tuple(sorted(json.loads(splits)))

"""What an index says and what shards hold, by key: of millions of samples, in little memory."""

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
"""Columns, as `read_columns` takes them: all that they say, or what sums over splits are made from."""


@dataclass(frozen=True)
class StoredIndex:
    """An index as it is stored: its head, and its columns as small arrays."""

    head: Head
    columns: Mapping[str, Any]


def load(folder: Path, kinds: Mapping[str, Kind] = ALL) -> tuple[StoredIndex | None, str]:
    """Return the index of a folder, or None and why it cannot be used."""
    if not (folder / INDEX).is_file():
        return None, f"there is no {INDEX}"
    try:
        return StoredIndex(*read_index_parts(folder / INDEX, kinds, repair="")), ""
    except RasedError as error:
        return None, str(error).replace(f"'{folder / INDEX}'", INDEX).rstrip(". ")


class Known(Mapping[str, dict[str, Any]]):
    """The rows of an index by key, shard and licence by name; of a key that comes twice the last one."""

    def __init__(self, stored: StoredIndex | None) -> None:
        """Sort the keys of an index as `load` gives it; None: no rows."""
        self._stored = stored
        self._keys = np.empty(0, np.bytes_) if stored is None else stored.columns["key"]
        self._order = np.argsort(self._keys, kind="stable")
        self._last = np.ones(len(self._keys), np.bool_)
        for start in range(0, len(self._keys), _PIECE):  # never all keys a second time
            some = self._keys[self._order[start : start + _PIECE + 1]]
            self._last[start : start + len(some) - 1] = some[1:] != some[:-1]

    def __len__(self) -> int:
        """Number of keys."""
        return int(self._last.sum())

    def __iter__(self) -> Iterator[str]:
        """The keys, sorted."""
        return (self._keys[self._order[place]].decode() for place in np.flatnonzero(self._last))

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The row of a key, in plain values."""
        wanted = np.array([key.encode()])
        if wanted.itemsize > self._keys.itemsize:  # numpy would make all keys as long
            raise KeyError(key)
        wanted = wanted.astype(self._keys.dtype)
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
    """What the shards of several folders hold, in a temporary file."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._table = temporary_table(self)
        self._table.execute(
            "CREATE TABLE keys (folder, key, PRIMARY KEY (folder, key)) WITHOUT ROWID"
        )
        self._table.execute("CREATE TABLE places (folder, kind, value, split)")

    def add(self, folder: Path, key: str) -> bool:
        """Note a key of a folder; return whether it is new there."""
        added = self._table.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (str(folder), key))
        return added.rowcount == 1

    def has(self, folder: Path, key: str) -> bool:
        """Whether a key of a folder was noted."""
        found = self._table.execute(
            "SELECT 1 FROM keys WHERE folder = ? AND key = ?", (str(folder), key)
        )
        return found.fetchone() is not None

    def remember(self, folder: Path, kind: str, value: str, split: str) -> None:
        """Note in which split of a folder something occurs."""
        row = (str(folder), kind, value, split)
        self._table.execute("INSERT INTO places VALUES (?, ?, ?, ?)", row)

    def shared(self, folders: Sequence[Path]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """What of these folders occurs in several splits: (kind, value, splits), sorted."""
        marks = ", ".join("?" * len(folders))
        rows = self._table.execute(
            f"SELECT kind, value, json_group_array(DISTINCT split) FROM places WHERE folder IN ({marks}) "
            "GROUP BY kind, value HAVING min(split) < max(split)",
            [str(folder) for folder in folders],
        )
        for kind, value, splits in rows:
            yield kind, value, tuple(sorted(json.loads(splits)))

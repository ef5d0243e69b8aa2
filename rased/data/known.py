"""What an index says and what shards hold, by key: of millions of samples, in little memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rased.data.columns import hexadecimal, read_columns
from rased.data.shards import COLUMNS, INDEX
from rased.data.sources import ROLES
from rased.data.tables import temporary_table

_PIECE = 1 << 16
TEXTS = ("key", "split", "label")
ALL = {
    name: "hash" if name == "sha256" else "string" if name in TEXTS else "small" for name in COLUMNS
}
SUMS = ALL | {"key": "length", "offset": "length", "sha256": "length"}
"""Columns, as `read_columns` takes them: all that they say, or what sums over splits are made from."""


def load(folder: Path, kinds: Mapping[str, str] = ALL) -> tuple[dict[str, Any] | None, str]:
    """Return the index of a folder, its columns as small arrays, or None and why it cannot be used."""
    try:
        stored, columns = read_columns(folder / INDEX, kinds)
        names = [(shard["name"], shard["bytes"], shard["sha256"]) for shard in stored["shards"]]
        lengths = {len(column) for column in columns.values()}
        for name, count in (("shard", len(names)), ("licence", len(stored["licences"]))):
            codes = columns[name]
            if len(lengths) > 1 or (len(codes) and not 0 <= codes.min() <= codes.max() < count):
                return None, f"{INDEX} is damaged: its columns do not fit together"
        if (
            stored["samples"] != lengths.pop()
            or stored["role"] not in ROLES
            or not stored["sample_rate"] > 0
        ):
            return None, f"{INDEX} is damaged: its head does not fit its columns"
    except FileNotFoundError:
        return None, f"there is no {INDEX}"
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return None, f"{INDEX} is damaged ({type(error).__name__}: {error})"
    return {**stored, "columns": columns}, ""


class Known(Mapping[str, dict[str, Any]]):
    """The rows of an index by key, shard and licence by name; of a key that comes twice the last one."""

    def __init__(self, stored: Mapping[str, Any] | None) -> None:
        """Sort the keys of an index as `load` gives it; None: no rows."""
        self._stored = stored
        self._keys = np.empty(0, np.bytes_) if stored is None else stored["columns"]["key"]
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
        row, columns = int(self._order[place]), self._stored["columns"]
        values = {name: columns[name][row].item() for name in COLUMNS if ALL[name] == "small"}
        return {
            **{name: columns[name][row].decode() for name in TEXTS},
            **values,
            "shard": self._stored["shards"][values["shard"]]["name"],
            "licence": self._stored["licences"][values["licence"]],
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

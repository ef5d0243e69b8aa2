"""The index of a folder of tar shards; `reader` reads any sample with one positioned read, and unpacks nothing.

A corpus folder of one role contains `{split}-{number:06d}.tar` and `index.json`. The shards are plain
WebDataset files; the index adds the offset of each member, so that samples are read by (shard, offset,
bytes) in any order.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rased
from rased.data.columns import Kind, Names, hexadecimal
from rased.data.schemas import CHANNELS, COLUMNS, SCHEMA, Codec, Role, Shard
from rased.data.shards import remote
from rased.data.shards.address import Address, is_remote
from rased.data.shards.mapped import read_mapped
from rased.disk import replacing
from rased.errors import RasedError, nearest

INDEX = remote.INDEX
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("shard", "offset", "bytes", "frames", "licence"), "number"),
    "key": "key",
    "split": "split",
    "label": "label",
    "sha256": "hash",
}
_TEXTS = ("key", "split", "label")
DIGITS = 12
"""Hexadecimal digits of a recording's SHA-256 that a manifest keeps."""


def bundle() -> Path:
    """Return the folder of the bundled corpus: speech, noise, rir and the frozen test set."""
    return Path(rased.__file__).parent / "assets" / "bundle"


def locate(name: str | Path, role: Role) -> Path:
    """Return the folder with the shards of one role: `bundle`, a folder with an index, or a folder with one per role.

    For a URL, return the local folder that its index was fetched into.

    Raises:
        RasedError: index.json is missing there.
    """
    if is_remote(name):
        return remote.find(str(name), [role])[0]
    base = bundle() if str(name) == "bundle" else Path(name)
    for folder in (base, base / role):
        if (folder / INDEX).is_file():
            return folder
    raise RasedError(
        f"No shards of role {role} in '{name}': neither {base / INDEX} nor {base / role / INDEX} exists. "
        f"{_how_to_pack(base, role)}."
    )


def _how_to_pack(base: Path, role: Role) -> str:
    if role == "pairs":
        return f"Write them with `rased data pack --pairs NOISY CLEAN --out {base}`"
    return f"Write them with `rased data pack SRC --out {base} --role {role}`, or use 'bundle'"


@dataclass(frozen=True)
class Index:
    """The contents of a folder of shards by column, one row per sample, in the order of the shards.

    Attributes:
        folder: folder of index.json.
        origin: address of the shards; None if they are in the folder.
        role: speech, noise, rir or pairs.
        codec: flac, pcm16 (raw little-endian 16-bit samples) or opus (lossy).
        sample_rate: Hz.
        shards: the tar files.
        licences: the names that the column `licence` refers to by number.
        columns: key, split, label (Names), sha256 (32 bytes); shard, offset, bytes, frames, licence,
            channels (integers).
    """

    folder: Path
    origin: Address | None
    role: Role
    codec: Codec
    sample_rate: int
    shards: tuple[Shard, ...]
    licences: tuple[str, ...]
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.columns["key"])

    @property
    def place(self) -> str:
        """Return the location of the shards: the folder, or its address."""
        return str(self.origin or self.folder)

    @property
    def seconds(self) -> float:
        """Return the total duration of all samples."""
        return float(self.columns["frames"].sum()) / self.sample_rate

    def values(self, name: str) -> list[Any]:
        """Return a column as plain integers and strings."""
        column = self.columns[name]
        return list(hexadecimal(column)) if name == "sha256" else list(column.tolist())

    def only(self, split: str) -> "Index":
        """Return the index of one split.

        Raises:
            RasedError: the split is empty or unknown.
        """
        rows = self.rows(split)
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        # Rows that follow each other, as packed, are views of the columns, not copies.
        taken = span if span.stop - span.start == len(rows) else rows
        return replace(self, columns={name: of[taken] for name, of in self.columns.items()})

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split.

        Raises:
            RasedError: the split is empty or unknown.
        """
        found = np.flatnonzero(self.columns["split"].encoded == split.encode())
        if not len(found):
            known = sorted(set(self.columns["split"]))
            raise RasedError(
                f"No {self.role} in split '{split}' of {self.place}: {nearest(split, known)}"
            )
        return found


def read_index(folder: Path, *, resized: bool = False) -> Index:
    """Read FOLDER/index.json.

    Args:
        folder: folder of the shards.
        resized: accept shards whose size differs from the index.

    Raises:
        RasedError: no index, a damaged one, a newer schema, or shards that are missing or of another size.
    """
    path = folder / INDEX
    if not path.is_file():
        raise RasedError(
            f"No {INDEX} in {folder}: write it with `rased data verify {folder} --repair`."
        )
    mend = f"Rebuild it with `rased data verify {folder} --repair`."
    head, arrays = read_mapped(path, _KINDS, repair=mend)
    index = Index(
        folder=folder,
        origin=remote.origin(folder),
        role=head.role,
        codec=head.codec,
        sample_rate=head.sample_rate,
        shards=tuple(head.shards),
        licences=tuple(head.licences),
        columns={n: Names(a) if _KINDS.get(n) in _TEXTS else a for n, a in arrays.items()},
    )
    shards = index.shards
    if index.origin:
        return index
    missing = [shard.name for shard in shards if not (folder / shard.name).is_file()]
    if missing:
        raise RasedError(
            f"{folder} lacks {', '.join(missing[:5])} that its index lists: restore the shards, or remove them "
            f"from the index with `rased data verify {folder} --repair`."
        )
    changed = [shard for shard in shards if (folder / shard.name).stat().st_size != shard.bytes]
    if changed and not resized:
        size = (folder / changed[0].name).stat().st_size
        raise RasedError(
            f"{folder / changed[0].name} has {size} bytes, but its index says {changed[0].bytes}: restore the shard, "
            f"or keep its good samples with `rased data verify {folder} --repair`."
        )
    return index


def write_index(
    folder: Path,
    *,
    role: Role,
    codec: Codec,
    sample_rate: int,
    shards: Sequence[Shard],
    licences: Sequence[str],
    columns: Mapping[str, Collection[Any]],
    attribution: str | None = None,
) -> None:
    """Write FOLDER/index.json atomically: a reader sees the old one or the new one.

    Columns are iterated value by value, several times: they need not be in memory. The column of channels is written
    only if a recording has several.
    """
    # Without the column, older versions of rased can read the index.
    several = any(number != 1 for number in columns.get(CHANNELS, ()))
    names = (*COLUMNS, CHANNELS) if several else COLUMNS
    lengths = {len(columns[name]) for name in names}
    assert len(lengths) == 1, "columns of unequal length"
    head = {
        "schema": SCHEMA if several else 1,
        "role": role,
        "codec": codec,
        "sample_rate": sample_rate,
        "seconds": sum(columns["frames"]) / sample_rate,
        "samples": lengths.pop(),
        "licences": list(licences),
        "attribution": attribution,
        "shards": [{"name": s.name, "bytes": s.bytes, "sha256": s.sha256} for s in shards],
    }
    encode = json.JSONEncoder(separators=(",", ":")).encode
    # Written piece by piece in the layout that `columns._in_pieces` reads in the same way.
    with replacing(folder / INDEX) as partial, partial.open("w") as file:
        file.write(encode(head)[:-1] + ',"columns":{')
        for number, name in enumerate(names):
            file.write(f'{"," if number else ""}"{name}":[')
            for place, value in enumerate(columns[name]):
                file.write(("," if place else "") + encode(value))
            file.write("]")
        file.write("}}\n")

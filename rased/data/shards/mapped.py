"""Columns of large indexes as files that are mapped into memory: read from index.json once, then opened at once.

The files are in the folder `columns` of the cache folder. They belong to one state of one index.json: a changed index
is read again, and the files of its earlier state are removed. Pages that are not used take no memory, and processes
share those that are.
"""

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rased.data.columns import Column, Kind
from rased.data.schemas import CHANNELS, Head, one_channel, read_index_head, read_index_parts
from rased.disk import new_folder
from rased.machine import cache_folder

LEAST = 4 << 20
"""Bytes of an index.json from which on its columns are mapped: about 30 000 recordings."""


def read_mapped(
    path: Path, kinds: Mapping[str, Kind], *, repair: str
) -> tuple[Head, dict[str, NDArray[Any]]]:
    """Read head and columns of an index.json; see `read_index_parts`. Columns of a large one are read-only maps.

    Raises:
        RasedError: see `read_index_parts`.
    """
    status = path.stat()
    if status.st_size < LEAST:
        return read_index_parts(path, kinds, repair=repair)
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    # A new file has another inode or another time, also if its size is the same.
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    stamp = hashlib.sha256(repr((state, sorted(kinds.items()))).encode()).hexdigest()[:32]
    folder = cache_folder() / "columns" / f"{place}-{stamp}"
    if not folder.is_dir():
        try:
            with new_folder(folder) as part, ExitStack() as files:
                read_index_parts(path, kinds, repair=repair, column=partial(_OnDisk, part, files))
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # no room in the cache, or nobody may write there
            return read_index_parts(path, kinds, repair=repair)
        for old in folder.parent.glob(f"{place}-*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
    head = read_index_head(path, repair=repair)
    mode: Literal["r"] | None = "r" if head.samples else None  # empty files cannot be mapped
    columns = {file.stem: np.load(file, mmap_mode=mode) for file in sorted(folder.glob("*.npy"))}
    return head, {CHANNELS: one_channel(head), **columns}


class _OnDisk(Column):
    """A column in a file: its parts are in a temporary one until the type of all values is known."""

    def __init__(self, folder: Path, files: ExitStack, name: str) -> None:
        self._path = folder / f"{name}.npy"
        self._stream = files.enter_context(TemporaryFile(dir=folder))
        self._types: list[np.dtype[Any]] = []
        self._lengths: list[int] = []

    def append(self, part: NDArray[Any]) -> None:
        """Add the next values."""
        np.save(self._stream, part)
        self._types.append(part.dtype)
        self._lengths.append(len(part))

    def whole(self) -> NDArray[Any]:
        """Return all values as a map of the finished file."""
        # The longest strings, or the largest integers.
        kind, length = np.result_type(*self._types), sum(self._lengths)
        header = {
            "descr": np.lib.format.dtype_to_descr(kind),
            "fortran_order": False,
            "shape": (length,),
        }
        self._stream.seek(0)
        with self._path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _ in self._lengths:
                file.write(np.load(self._stream).astype(kind).tobytes())
        self._stream.close()
        return np.load(self._path, mmap_mode="r" if length else None)

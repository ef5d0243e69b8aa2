"""A file object for h5py whose content is always that of the last commit, even if the writer is killed.

HDF5 changes a file in place and cannot open a file whose writer was killed. Here, data after
the committed end is written to the file directly, and data that overwrites committed bytes is held back
in memory. `commit` first writes the held-back pages to a journal in the same folder, and only then to the file.
Opening the file repeats the last commit from the journal, and cuts off everything written after it.
"""

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from rased import documents
from rased.documents import Count, Hash
from rased.errors import RasedError
from rased.machine import WRITE, read_at, take_lock, write_at

PAGE = 4096
SUFFIX = ".journal"


class _Head(msgspec.Struct):
    """First line of a journal: size of the committed file, and which of its pages follow."""

    size: Count
    pages: list[Count]
    sha256: Hash


class JournalledFile(io.RawIOBase):
    """The file object for `h5py.File(file, "r+")`: seek, readinto, write, truncate, and `commit`.

    Attributes:
        new: the file is empty.
        failure: why writing failed; HDF5 does not pass this on.
    """

    def __init__(self, path: Path) -> None:
        """Open PATH at its last commit, or an empty file, with the journal PATH.journal.

        Raises:
            RasedError: another process is writing the file, or the journal is damaged.
        """
        self.path, self.journal = path, path.with_name(path.name + SUFFIX)
        self._pages: dict[int, bytearray] = {}
        self._position = self._size = self._committed = 0
        self._abandoned = False
        self.failure: OSError | None = None
        self._file = os.open(path, WRITE, 0o644)
        try:
            # The lock comes before the journal is read, which another writer would be changing.
            if not take_lock(self._file):
                raise RasedError(
                    f"Another process is writing '{path}': wait for it, or choose another --out."
                )
            if self.journal.is_file():
                self._apply(*self._read_journal())
            # Drop what a killed writer wrote after its last commit.
            os.ftruncate(self._file, self._committed)
        except BaseException:
            self.close()
            raise
        self.new = not self._committed

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as in any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position, as in any file."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the file and the pages held back; zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        start, stop = self._position, self._position + len(view)
        data = read_at(self._file, len(view), start)
        view[: len(data)] = data
        # HDF5 also reads space that it has allocated but not written.
        view[len(data) :] = bytes(len(view) - len(data))
        for page in self._pages.keys() & set(range(start // PAGE, -(-stop // PAGE))):
            begin, end = max(start, page * PAGE), min(stop, (page + 1) * PAGE)
            held = self._pages[page][begin - page * PAGE : end - page * PAGE]
            view[begin - start : end - start] = held
        self._position = stop
        return len(view)

    def write(self, data: Any) -> int:
        """Write directly after the committed pages; hold back changes to committed pages."""
        view = memoryview(data).cast("B")
        count = len(view)
        start, stop = self._position, self._position + count
        self._position, self._size = stop, max(self._size, stop)
        if self._abandoned:
            return count
        # The last committed page is protected as a whole, including its part after the committed end.
        protected = -(-self._committed // PAGE) * PAGE
        while start < min(stop, protected):
            page, inside = divmod(start, PAGE)
            length = min(PAGE - inside, stop - start)
            self._hold(page)[inside : inside + length] = view[:length]
            start, view = start + length, view[length:]
        try:
            while view:
                written = write_at(self._file, view, start)
                start, view = start + written, view[written:]
        except OSError as error:
            self.failure = error
            raise
        return count

    def truncate(self, size: int | None = None) -> int:
        """Set the size; the file itself is truncated by the next commit."""
        self._size = self._position if size is None else size
        return self._size

    def commit(self) -> None:
        """Make everything written so far the permanent content of the file.

        Raises:
            OSError: the disk is full; the file keeps its last commit.
        """
        # Not below the committed end: until the rename, the old content must be complete.
        os.ftruncate(self._file, max(self._size, self._committed))
        os.fsync(self._file)
        pages = b"".join(self._pages.values())
        head = {
            "size": self._size,
            "pages": list(self._pages),
            "sha256": hashlib.sha256(pages).hexdigest(),
        }
        # Everything after the committed end is on the disk now; the journal holds the rest.
        part = self.journal.with_name(self.journal.name + ".part")
        with part.open("wb") as file:
            file.write(json.dumps(head).encode() + b"\n" + pages)
            file.flush()
            os.fsync(file.fileno())
        # This rename is the commit: before it, the old journal restores the old content; after it, the new
        # journal repeats the writes of `_apply`, however often they are interrupted.
        part.replace(self.journal)
        self._apply(self._size, dict(self._pages))

    def abandon(self) -> None:
        """Ignore all further writes: the file keeps its last commit when it is closed."""
        if not self._abandoned:
            self._abandoned = True
            os.ftruncate(self._file, self._committed)

    def close(self) -> None:
        """Close the file; uncommitted changes are lost."""
        if not self.closed:
            os.close(self._file)
        super().close()

    def finish(self, path: Path) -> None:
        """Give the committed file its final name, and remove the journal."""
        os.fsync(self._file)
        self.path.replace(path)
        self.journal.unlink(missing_ok=True)

    def _hold(self, page: int) -> bytearray:
        if page not in self._pages:
            self._pages[page] = bytearray(read_at(self._file, PAGE, page * PAGE).ljust(PAGE, b"\0"))
        return self._pages[page]

    def _apply(self, size: int, pages: dict[int, bytearray]) -> None:
        """Write the pages of a commit; if that fails, the next opening repeats it from the journal."""
        self._size = self._committed = size
        for page, content in pages.items():
            # No fsync: the journal stays and repeats these writes.
            write_at(self._file, content, page * PAGE)
        os.ftruncate(self._file, size)
        self._pages = {}

    def _read_journal(self) -> tuple[int, dict[int, bytearray]]:
        line, _, content = self.journal.read_bytes().partition(b"\n")
        repair = f"Remove it and '{self.path}', and start again."
        head = documents.parse(line, _Head, of=self.journal, repair=repair)
        pages = len(head.pages)
        if hashlib.sha256(content).hexdigest() != head.sha256 or len(content) != pages * PAGE:
            raise RasedError(f"'{self.journal}' is damaged: its checksum is wrong. {repair}")
        return head.size, {
            page: bytearray(content[place * PAGE : (place + 1) * PAGE])
            for place, page in enumerate(head.pages)
        }

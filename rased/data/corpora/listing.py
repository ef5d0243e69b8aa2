"""List the audio files to pack, with split, label and licence, from folders and manifests."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from rased import documents
from rased.audio import audio_below, printable
from rased.data.schemas import PARTS, Role
from rased.data.shards.tables import temporary_table
from rased.documents import one_line
from rased.errors import RasedError, shown

SPLITS = ("train", "valid", "test")
UNDECIDED = "undecided"
"""Temporary split of files for which neither a manifest nor a folder gives one."""

_LONGEST_KEY = 80
"""Maximum characters of a key; the name of a tar member, with its suffix, is limited to 100."""


class NothingFound(RasedError):
    """There are no files of the role in what was given."""


class SourceFile(NamedTuple):
    """One file to pack.

    Attributes:
        root: folder that `path` is relative to.
        path: path of the file below root, with slashes.
        key: unique name in the shard, without dots and slashes.
        split: train, valid, test or another plain word.
        label: speaker, noise type or room.
        licence: from the manifest, else "unknown".
        source: origin of the recording, from the manifest.
        note: from the manifest.
        sha256: SHA-256 of the file, from the manifest; "" if not given.
        bytes: size of the file; -1 if it does not exist.
    """

    root: Path
    path: str
    key: str
    split: str
    label: str
    licence: str
    source: str
    note: str
    sha256: str
    bytes: int

    @property
    def file(self) -> Path:
        """Return the full path."""
        return self.root / self.path


class Listing:
    """All files that were found, in the order of packing (split, then key).

    The list is a temporary database on disk, so that millions of files take no memory.

    Attributes:
        passed_over: number of entries that were ignored on purpose, by reason.
        licence_files: licence texts to copy next to the shards.
        division: sentence on how undecided files were put into the split valid; "" if none were.
    """

    def __init__(self) -> None:
        """Create an empty listing."""
        self.division = ""
        self.passed_over: Counter[str] = Counter()
        self.licence_files: list[Path] = []
        self._roots: list[Path] = []
        self._table = temporary_table(self)
        self._table.execute(f"CREATE TABLE files ({', '.join(SourceFile._fields)})")

    def __len__(self) -> int:
        """Return the number of files."""
        return int(self._table.execute("SELECT count(*) FROM files").fetchone()[0])

    def extend(self, sources: Iterable[SourceFile]) -> None:
        """Add files; call `settle` after all have been added."""
        marks = ", ".join("?" * len(SourceFile._fields))
        self._table.executemany(f"INSERT INTO files VALUES ({marks})", map(self._row, sources))

    def divide(self, valid_share: float) -> None:
        """Put each undecided file into train or valid, by label, or by recording if there is only one label.

        A label (or recording) goes into valid if the hash of its name is below the share, so the result is the
        same in each
        run and on each machine. Of at least two, at least one goes into valid and one into train. Nothing goes
        into valid
        if the share is 0, or if folders or a manifest put some files into that split.

        Args:
            valid_share: share of the labels, between 0 and 1.
        """
        labels = self._names("SELECT DISTINCT label FROM files WHERE split = ?", UNDECIDED)
        if valid_share > 0 and not self._names("SELECT 1 FROM files WHERE split = 'valid' LIMIT 1"):
            if len(labels) > 1:
                chosen = _share(labels, valid_share)
                self._move("label", chosen)
                count = f"{len(chosen)} of {len(labels)} labels"
                self.division = f"{count} are in the split valid, by the hash of their names"
            elif labels:
                self._divide_one(labels[0], valid_share)
        self._table.execute("UPDATE files SET split = 'train' WHERE split = ?", (UNDECIDED,))

    def _divide_one(self, label: str, valid_share: float) -> None:
        """Divide the recordings of one label; those in valid get another label, so that no label is in two splits."""
        paths = self._names("SELECT path FROM files WHERE split = ?", UNDECIDED)
        chosen = _share(paths, valid_share)
        if not chosen:
            return
        self._move("path", chosen)
        self._table.execute(
            "UPDATE files SET label = label || '-valid' WHERE split = 'valid' AND label = ?",
            (label,),
        )
        self.division = (
            f"{len(chosen)} of {len(paths)} recordings are in the split valid, by the hash of their names; all have "
            f"the label '{label}', so train and valid may share speakers, rooms or sources"
        )

    def _names(self, query: str, *values: str) -> list[Any]:
        return [row[0] for row in self._table.execute(query, values)]

    def _move(self, column: str, chosen: Iterable[Any]) -> None:
        """Move the undecided files that have one of these values in a column into valid."""
        self._table.executemany(
            f"UPDATE files SET split = 'valid' WHERE split = '{UNDECIDED}' AND {column} = ?",
            ((value,) for value in chosen),
        )

    def settle(self) -> None:
        """Append a hash of the path to every key that is not unique; create the indices for sorting.

        Raises:
            RasedError: two files whose folder name and path are the same.
        """
        keys = "SELECT key FROM files GROUP BY key HAVING count(*) > 1"
        self._table.execute("CREATE INDEX by_key ON files (key)")
        # The names that occur twice; `fetchall`, because the loop changes the table that is read.
        for number, root, path, key in self._table.execute(
            f"SELECT rowid, root, path, key FROM files WHERE key IN ({keys})"
        ).fetchall():
            # The name of the folder, not its place: the same key on every machine.
            key = _with_hash(key, f"{self._roots[root].resolve().name}/{os.fsdecode(path)}")
            self._table.execute("UPDATE files SET key = ? WHERE rowid = ?", (key, number))
        twice = self._table.execute(f"{keys} LIMIT 1").fetchone()
        if twice is not None:
            same = self._table.execute("SELECT * FROM files WHERE key = ?", twice)
            twins = " and ".join(f"'{self._source(row).file}'" for row in same)
            raise RasedError(
                f"{twins} would get the same key; give each file once, or rename one of the two folders."
            )
        self._table.execute("CREATE INDEX in_order ON files (split, key)")

    @property
    def roots(self) -> list[Path]:
        """Return the folders that the files are in."""
        return list(dict.fromkeys(self._roots))

    @property
    def sources(self) -> Iterator[SourceFile]:
        """Yield the files in the order of packing."""
        return map(self._source, self._table.execute("SELECT * FROM files ORDER BY split, key"))

    def digest(self) -> str:
        """Return a SHA-256 over everything except the location of the roots: equal listings pack to equal bytes."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(_bytes("\x00".join(map(str, source[1:]))))
            digest.update(b"\n")
        return digest.hexdigest()

    def _row(self, source: SourceFile) -> tuple[int | str | bytes, ...]:
        """Convert a file to a row; paths are stored as bytes, since file names need not be UTF-8."""
        # A number instead of the root in each row.
        if not self._roots or self._roots[-1] != source.root:
            self._roots.append(source.root)
        said = (source.label, source.licence, source.source, source.note)
        label, licence, origin, note = (one_line(printable(words)) for words in said)
        clean = source._replace(label=label, licence=licence, source=origin, note=note)
        return (len(self._roots) - 1, os.fsencode(source.path), *clean[2:])

    def _source(self, row: Sequence[Any]) -> SourceFile:
        return SourceFile(self._roots[row[0]], os.fsdecode(row[1]), *row[2:])


def _share(names: Sequence[Any], share: float) -> list[Any]:
    """Choose a share of the names by their hashes: at least one, but not all; none of a single name."""
    places = {name: place_of(name if isinstance(name, bytes) else _bytes(name)) for name in names}
    # By hash: with a larger share, names are added to the chosen ones.
    ranked = sorted(places, key=lambda name: (places[name], name))
    count = sum(place < share for place in places.values())
    return ranked[: max(1, min(count, len(ranked) - 1))] if len(ranked) > 1 else []


def collect(
    given: Sequence[Path], *, role: Role, split: str = "train", valid_share: float = 0.0
) -> Listing:
    """List the audio of `role` in folders, manifest.csv files and audio files.

    A folder with a manifest.csv is read through it. Otherwise, split and label come from the
    folders: [role/][train|valid|test/][label/]...; without a label folder, the label is the name of the folder
    that contains the file.

    Args:
        given: folders, audio files and manifests (columns: path; and, if known, role, split, label, licence,
            source, note, sha256; paths are relative to the manifest's folder).
        role: rows and top-level folders of the other two roles are ignored.
        split: split of files for which neither the manifest nor a folder gives one.
        valid_share: if that split is train, share of these files that goes into valid instead; see `Listing.divide`.

    Raises:
        NothingFound: there are no files of the role.
        RasedError: nothing given, a path that does not exist, a manifest without the
            column path, the same file twice.
    """
    if not given:
        raise RasedError("Nothing to pack: give folders, manifest.csv files or audio files.")
    check_split(split)
    if not 0 <= valid_share < 1:
        raise RasedError(f"The share of valid is {valid_share}; it must be at least 0 and below 1.")
    # Another split on the command line is meant for all files.
    divided = split == "train"
    split = UNDECIDED if divided else split
    listing = Listing()
    for root in given:
        if not root.exists():
            raise RasedError(
                f"'{root}' does not exist; give a folder, a manifest.csv or an audio file."
            )
        if root.is_dir() and (root / "manifest.csv").is_file():
            found = _from_manifest(root / "manifest.csv", role, split, listing)
        elif root.is_dir():
            found = _from_folder(root, role, split, listing)
        elif root.suffix.lower() == ".csv":
            found = _from_manifest(root, role, split, listing)
        else:
            found = _from_file(root, split)
        listing.extend(found)
    if not len(listing):
        aside = "".join(f" {count} {reason}." for reason, count in listing.passed_over.items())
        raise NothingFound(f"No {role} to pack in {', '.join(map(repr, map(str, given)))}.{aside}")
    if divided:
        listing.divide(valid_share)
    listing.settle()
    return listing


def check_split(split: str) -> None:
    """Reject split names that are not suitable as the beginning of a file name.

    Raises:
        RasedError: characters other than letters, digits and underscores.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", split):
        raise RasedError(
            f"The split name '{split}' is not allowed; use {', '.join(SPLITS)}, or letters, digits and underscores."
        )


def _from_manifest(
    manifest: Path, role: Role, split: str, listing: Listing
) -> Iterator[SourceFile]:
    root = manifest.parent
    if (root / "LICENSES.md").is_file() and root / "LICENSES.md" not in listing.licence_files:
        listing.licence_files.append(root / "LICENSES.md")
    example = (
        "Its first line names the columns, for example path,role,split,label,licence,source,note."
    )
    for row in documents.rows(manifest, needed=["path"], repair=example):
        if (row.get("role") or role) != role:
            listing.passed_over["rows of other roles"] += 1
            continue
        if not row["path"]:
            raise RasedError(f"'{manifest}' has a row whose column 'path' is empty: {shown(row)}.")
        path = _as_here(root, row["path"])
        in_split, label = split_and_label(path, root.name, role, split)
        in_split = row.get("split") or in_split
        check_split(in_split)
        yield SourceFile(
            root=root,
            path=path,
            key=key_of(path, role),
            split=in_split,
            label=row.get("label") or label,
            licence=row.get("licence") or row.get("license") or "unknown",
            source=row.get("source") or "",
            note=row.get("note") or "",
            sha256=(row.get("sha256") or "").lower(),
            bytes=size_of(root / path),
        )


def _as_here(root: Path, path: str) -> str:
    """Convert the backslashes of a Windows path, unless a file has the name as written."""
    if "\\" in path and not (root / path).exists():
        return path.replace("\\", "/")
    return path


def _from_folder(root: Path, role: Role, split: str, listing: Listing) -> Iterator[SourceFile]:
    base = root.resolve().name
    others = [name for name in PARTS if name != role]
    for found in audio_below(root, passed_over=listing.passed_over, without=others):
        path = found.as_posix()
        in_split, label = split_and_label(path, base, role, split)
        yield _plain(root, path, role, in_split, label)


def _from_file(file: Path, split: str) -> Iterator[SourceFile]:
    yield _plain(file.parent, file.name, None, split, file.resolve().parent.name)


def _plain(root: Path, path: str, role: Role | None, split: str, label: str) -> SourceFile:
    size = size_of(root / path)
    key = key_of(path, role)
    return SourceFile(root, path, key, split, label, "unknown", "", "", "", size)


def size_of(file: Path) -> int:
    """Return the size of a file in bytes; -1 if it does not exist."""
    return file.stat().st_size if file.is_file() else -1


def split_and_label(path: str, base: str, role: Role, split: str) -> tuple[str, str]:
    """Return split and label from the folders of a path."""
    folders = list(PurePosixPath(path).parts[:-1])
    parent = folders[-1] if folders else base
    if folders and folders[0] == role:
        folders.pop(0)
    if folders and folders[0] in SPLITS:
        split = folders.pop(0)
    return split, folders[0] if folders else parent


def key_of(path: str, role: Role | None) -> str:
    """Convert a path to one word; the role, which all keys of a folder share, is left out.

    >>> key_of("noise/test/babble/babble_00.flac", "noise")
    'test-babble-babble_00'
    """
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if len(parts) > 1 and parts[0] == role:
        parts.pop(0)
    word = re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(parts)).strip("-") or "audio"
    return word if len(word) <= _LONGEST_KEY else _with_hash(word, path)


def _with_hash(word: str, path: str) -> str:
    # A hyphen and 8 digits.
    return f"{word[: _LONGEST_KEY - 9]}-{hashlib.sha256(_bytes(path)).hexdigest()[:8]}"


def _bytes(text: str) -> bytes:
    """Encode text in UTF-8; file names that are not UTF-8 keep their original bytes."""
    return text.encode(errors="surrogateescape")


def place_of(name: bytes) -> float:
    """Return a number from 0 to 1 from the hash of a name; the same on every machine."""
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") / 2**64

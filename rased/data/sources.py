"""What is to be packed: audio files with split, label and licence, out of folders and manifests."""

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from sys import intern
from typing import NamedTuple, get_args

from rased.data.shards import Role
from rased.errors import RasedError

ROLES: tuple[Role, ...] = get_args(Role)
SPLITS = ("train", "valid", "test")

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .nist "
    ".voc .wve .htk .avr .sd2 .m4a .aac .mp4 .wma .webm .mka .amr".split()
)
"""Names that promise audio: what libsndfile cannot read of them is listed as bad, not passed by."""

_LONGEST_KEY = 80
"""Characters; the name of a tar member ends at 100 with its extension."""


class Source(NamedTuple):
    """One file to pack.

    Attributes:
        root: folder that `path` starts from.
        path: where the file lies below root, with slashes.
        key: name in the shard: unique there, without dots and slashes.
        split: train, valid, test or another plain word.
        label: speaker, noise type or room.
        licence: as the manifest says, "unknown" without one.
        source: where the manifest says that the recording comes from.
        note: of the manifest.
        sha256: of the file by the manifest; "" where it does not say.
        bytes: size of the file; -1 where there is none.
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
        """Where to read it."""
        return self.root / self.path


@dataclass
class Listing:
    """All that was found, in the order of packing (split, then key).

    Attributes:
        sources: the files to pack.
        passed_over: how many entries were left aside on purpose, by reason.
        licence_files: LICENSES.md beside the manifests that were read.
    """

    sources: list[Source] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    licence_files: list[Path] = field(default_factory=list)

    def digest(self) -> str:
        """Return a sha256 over all but where the roots lie: equal listings pack to equal bytes."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update("\x00".join(map(str, source[1:])).encode())
            digest.update(b"\n")
        return digest.hexdigest()


def collect(given: Sequence[Path], *, role: Role, split: str = "train") -> Listing:
    """List the audio of `role` in folders, manifest.csv files and audio files.

    A folder that holds a manifest.csv is read through it. Otherwise split and label come from the
    folders: [role/][train|valid|test/][label/]...; without a label folder the name of the folder
    that the file lies in is the label.

    Args:
        given: folders, audio files and manifests (columns: path; and role, split, label, licence,
            source, note, sha256 where known; paths start at the manifest's folder).
        role: rows and top folders of the other two roles are passed over.
        split: for files whose split neither the manifest nor a folder names.

    Raises:
        RasedError: nothing given, nothing found, a path that is not there, a manifest without the
            column path, the same file twice.
    """
    if not given:
        raise RasedError("Nothing to pack: give folders, manifest.csv files or audio files.")
    check_split(split)
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
        listing.sources.extend(found)
    if not listing.sources:
        aside = "".join(f" {count} {reason}." for reason, count in listing.passed_over.items())
        raise RasedError(f"No {role} to pack in {', '.join(map(repr, map(str, given)))}.{aside}")
    _make_keys_unique(listing.sources)
    listing.sources.sort(key=lambda source: (source.split, source.key))
    return listing


def check_split(split: str) -> None:
    """Refuse names of splits that would not do as the beginning of a file name.

    Raises:
        RasedError: other characters than letters, digits and underscores.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", split):
        raise RasedError(
            f"A split cannot be called '{split}'; use {', '.join(SPLITS)} or a word like them."
        )


def _from_manifest(manifest: Path, role: Role, split: str, listing: Listing) -> Iterator[Source]:
    root = manifest.parent
    if (root / "LICENSES.md").is_file() and root / "LICENSES.md" not in listing.licence_files:
        listing.licence_files.append(root / "LICENSES.md")
    with manifest.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        try:
            if "path" not in (rows.fieldnames or ()):
                raise RasedError(
                    f"'{manifest}' has no column 'path'; its first line must name the columns, for "
                    "example path,role,split,label,licence,source,note."
                )
            for row in rows:
                if (row.get("role") or role) != role:
                    listing.passed_over["rows of other roles"] += 1
                    continue
                path = (row["path"] or "").strip()
                if not path:
                    raise RasedError(
                        f"'{manifest}' line {rows.line_num}: the column 'path' is empty."
                    )
                in_split, label = _from_path(path, root.name, role, split)
                in_split = row.get("split") or in_split
                check_split(in_split)
                yield Source(
                    root=root,
                    path=path,
                    key=_key(path, role),
                    split=intern(in_split),
                    label=intern(row.get("label") or label),
                    licence=intern(row.get("licence") or row.get("license") or "unknown"),
                    source=intern(row.get("source") or ""),
                    note=row.get("note") or "",
                    sha256=(row.get("sha256") or "").lower(),
                    bytes=_size(root / path),
                )
        except (UnicodeDecodeError, csv.Error) as error:
            raise RasedError(f"'{manifest}' is not a CSV file in UTF-8: {error}.") from error


def _from_folder(root: Path, role: Role, split: str, listing: Listing) -> Iterator[Source]:
    base = root.resolve().name
    for folder, folders, names in os.walk(root, followlinks=True):
        relative = Path(folder).relative_to(root)
        hidden = [name for name in folders if name.startswith(".")]
        if not relative.parts:
            hidden += [name for name in folders if name in ROLES and name != role]
        for name in hidden:
            listing.passed_over[f"folders '{name}'"] += 1
        folders[:] = sorted(set(folders) - set(hidden))
        for name in sorted(names):
            if name.startswith(".") or Path(name).suffix.lower() not in AUDIO_SUFFIXES:
                listing.passed_over["files that are not audio by their name"] += 1
                continue
            path = (relative / name).as_posix()
            in_split, label = _from_path(path, base, role, split)
            yield _plain(root, path, role, in_split, label)


def _from_file(file: Path, split: str) -> Iterator[Source]:
    yield _plain(file.parent, file.name, None, split, file.resolve().parent.name)


def _plain(root: Path, path: str, role: Role | None, split: str, label: str) -> Source:
    size = _size(root / path)
    key = _key(path, role)
    return Source(root, path, key, intern(split), intern(label), "unknown", "", "", "", size)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _from_path(path: str, base: str, role: Role, split: str) -> tuple[str, str]:
    """Return split and label as the folders on the way to the file tell them."""
    folders = list(PurePosixPath(path).parts[:-1])
    parent = folders[-1] if folders else base
    if folders and folders[0] == role:
        folders.pop(0)
    if folders and folders[0] in SPLITS:
        split = folders.pop(0)
    return split, folders[0] if folders else parent


def _key(path: str, role: Role | None) -> str:
    """Return the path as one word; the role, which all keys of a folder share, is left out.

    >>> _key("noise/test/babble/babble_00.flac", "noise")
    'test-babble-babble_00'
    """
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if len(parts) > 1 and parts[0] == role:
        parts.pop(0)
    word = re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(parts)).strip("-") or "audio"
    return word if len(word) <= _LONGEST_KEY else _with_hash(word, path)


def _with_hash(word: str, path: str) -> str:
    return f"{word[: _LONGEST_KEY - 9]}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _make_keys_unique(sources: list[Source]) -> None:
    """Give every file whose key is not its own a hash of its path behind it, in place.

    Raises:
        RasedError: two files that the hash of folder name and path cannot tell apart.
    """
    count = Counter(source.key for source in sources)
    taken: set[str] = set()
    for position, source in enumerate(sources):
        if count[source.key] > 1:
            place = f"{source.root.resolve().name}/{source.path}"
            sources[position] = source = source._replace(key=_with_hash(source.key, place))
        if source.key in taken:
            twins = " and ".join(f"'{other.file}'" for other in sources if other.key == source.key)
            raise RasedError(
                f"{twins} would get the same key; give each file once, or rename one of the two folders."
            )
        taken.add(source.key)

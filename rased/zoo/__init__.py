"""The zoo: a card and safetensors in, an enhancer out; nothing else is ever executed."""

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rased.errors import RasedError, cut, nearest
from rased.zoo.card import CARD
from rased.zoo.importable import importable, list_importable
from rased.zoo.registry import cache, entries, find, list_checkpoints

if TYPE_CHECKING:
    from rased.models.base import Enhancer

__all__ = ["Source", "find", "list_checkpoints", "list_importable", "load", "resolve"]

Kind = Literal["classical", "zoo", "importable", "run", "url"]


@dataclass(frozen=True)
class Source:
    """Where an enhancer comes from.

    Attributes:
        kind: a method without weights, an entry of the zoo, weights of others that become one, a run, or a card
            on the net.
        place: the method's name, the folder, the name of the importable entry, or the URL.
    """

    kind: Kind
    place: str

    def here(self) -> "Source":
        """The same on this machine: what lies elsewhere is fetched, checked and put into the cache first.

        Raises:
            RasedError: it cannot be had, or is not what it should be.
        """
        match self.kind:
            case "url":
                from rased.zoo.pull import pull

                return Source("zoo", str(pull(self.place)))
            case "importable":
                from rased.zoo.importing import pull_importable

                return Source("zoo", str(pull_importable(self.place)))
        return self

    def load(self, *, allow: Sequence[str] = ()) -> "Enhancer":
        """The enhancer, in evaluation mode; see `load`."""
        from rased.zoo.loading import load_folder

        source = self.here()
        match source.kind:
            case "classical":
                from rased.models.classical import METHODS

                return METHODS[source.place]().eval()
            case "run":
                from rased.zoo.runs import load_run

                return load_run(source.place, allow=allow)
        return load_folder(Path(source.place), allow=allow)


def load(name: str | Path, *, allow: Sequence[str] = ()) -> "Enhancer":
    """Load an enhancer, verified, in evaluation mode.

    Args:
        name: a name of the zoo (`rased.list_checkpoints()`), weights of others that are fetched the first time
            (`rased zoo list`), a classical method ("log-mmse"), the folder of an entry or of a run, a card.yaml, or
            the URL of one (https://, http://, file://), or a repository of the Hugging Face Hub (hf://ORG/NAME).
        allow: packages besides rased whose classes it may name, such as ["my_package"]. Building a class runs the
            code of its package: name only what you trust.

    Raises:
        RasedError: there is none (with the nearest names), or it is not what its card says.

    >>> load("log-mmse").sample_rate
    16000
    """
    return resolve(name).load(allow=allow)


def resolve(name: str | Path, *, others: Sequence[str] = ()) -> Source:
    """Find out what a name means: the one place for `rased.load`, `rased.enhance` and the command line.

    Args:
        name: see `load`.
        others: further names that the caller knows, for the message.

    Raises:
        RasedError: nothing of that name, with the nearest.
    """
    from rased.models.classical import METHODS
    from rased.zoo.runs import is_run

    word = str(name)
    scheme = word.partition("://")[0].lower() if "://" in word else ""
    if scheme in ("http", "https"):
        return Source("url", word)
    if scheme == "hf":
        from rased.zoo.hub import card_url

        return Source("url", card_url(word))
    if scheme == "file":
        return _of_path(_local(word), word)
    if scheme:
        raise RasedError(
            f"'{cut(word)}' is not an address that can be read: use https://, hf:// or file://."
        )
    if word in METHODS:
        return Source("classical", word)
    path, known = _path(word), entries()
    if path is not None and (path.name == CARD or (path / CARD).is_file() or is_run(path)):
        return _of_path(path, word)
    if word in importable() and known.get(word, cache()).is_relative_to(cache()):
        return Source("importable", word)
    if word in known:
        return Source("zoo", str(known[word]))
    if path is not None and (path.exists() or len(path.parts) > 1):
        return _of_path(path, word)
    names = [*others, *METHODS, *known, *importable()]
    raise RasedError(f"there is no checkpoint or method '{cut(word)}'; {nearest(word, names)}")


def _of_path(path: Path, word: str) -> Source:
    """A card, the folder of an entry, or the folder of a run."""
    from rased.zoo.runs import is_run

    if path.name == CARD and path.is_file():
        return Source("zoo", str(path.parent))
    if (path / CARD).is_file():
        return Source("zoo", str(path))
    if is_run(path):
        return Source("run", str(path))
    if path.is_dir():
        raise RasedError(
            f"the folder '{cut(word)}' holds neither {CARD} (an entry of the zoo) nor checkpoints/ (a run)."
        )
    if path.is_file():
        raise RasedError(
            f"'{cut(word)}' is a file, and a checkpoint is named by its folder, its {CARD}, or its name in the zoo."
        )
    known = nearest(word, [*entries(), *importable()])
    raise RasedError(f"there is no folder '{cut(word)}', nor a checkpoint of that name; {known}")


def _path(word: str) -> Path | None:
    """A word as a path; None where it cannot be one."""
    path = Path(word)
    try:
        path.exists()
    except (OSError, ValueError):
        return None
    return path


def _local(url: str) -> Path:
    """The path in a file:// URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        path = _path(urllib.parse.unquote(parts.path))
    except ValueError:
        path = None
    if path is None or parts.netloc not in ("", "localhost"):
        raise RasedError(f"'{cut(url)}' is not the address of a file here: write file:///PATH.")
    return path

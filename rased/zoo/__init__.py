"""The zoo: loads an enhancer from a card and safetensors, without running anything else."""

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rased.errors import RasedError, cut, nearest
from rased.shelves import cache
from rased.zoo.card import CARD
from rased.zoo.importable import importable, list_importable
from rased.zoo.registry import entries, find, list_checkpoints

if TYPE_CHECKING:
    from rased.models.base import Enhancer

__all__ = ["Source", "find", "list_checkpoints", "list_importable", "load", "resolve"]

Kind = Literal["classical", "zoo", "importable", "run", "url", "graph"]


@dataclass(frozen=True)
class Source:
    """Where an enhancer comes from.

    Attributes:
        kind: a method without weights, an entry of the zoo, importable third-party weights, a run, a remote
            card, or a graph that `rased export` wrote.
        place: name of the method, folder, name of the importable entry, or URL.
    """

    kind: Kind
    place: str

    def here(self) -> "Source":
        """Return the same source on this machine; a remote source is fetched, checked and stored in the cache first.

        Raises:
            RasedError: it cannot be fetched, or fails the checks.
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
        """Return the enhancer in eval mode; see `load`."""
        from rased.zoo.loading import load_folder

        source = self.here()
        match source.kind:
            case "classical":
                from rased.models.classical import METHODS

                return METHODS[source.place]().eval()
            case "run":
                from rased.zoo.runs import load_run

                return load_run(source.place, allow=allow)
            case "graph":
                from rased.zoo.exported import Exported

                return Exported(source.place).eval()
        return load_folder(Path(source.place), allow=allow)


def load(
    name: str | Path, *, allow: Sequence[str] = (), limit_db: float | None = None
) -> "Enhancer":
    """Load and verify an enhancer; it is in eval mode.

    Args:
        name: a name in the zoo (`rased.list_checkpoints()`), third-party weights (`rased zoo list`), which are
            fetched on first use, a classical method ("log-mmse"), the folder of an entry or of a run, a card.yaml,
            its URL (https://, http://, file://), a repository of the Hugging Face Hub (hf://ORG/NAME), or a folder that
            `rased export --to onnx` wrote.
        allow: packages, besides rased, whose classes it may use, such as ["my_package"]. Building a class runs the
            code of its package, so allow only packages that you trust.
        limit_db: largest attenuation in dB; noise that the enhancer removes entirely remains at this level. None: no
            limit.

    Raises:
        RasedError: a limit below 0, an unknown name (the message suggests similar ones), or it does not match its card.

    >>> load("log-mmse").sample_rate
    16000
    """
    from rased.models.limited import checked_limit, limited

    if limit_db is not None:
        checked_limit(limit_db)  # before anything is fetched
    return limited(resolve(name).load(allow=allow), limit_db)


def resolve(name: str | Path, *, others: Sequence[str] = ()) -> Source:
    """Find out what a name means; used by `rased.load`, `rased.enhance` and the command line.

    Args:
        name: see `load`.
        others: more names that the caller accepts, for the error message.

    Raises:
        RasedError: unknown name; the message suggests similar ones.
    """
    from rased.models.classical import METHODS

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
            f"'{cut(word)}' is not a supported address: use https://, hf:// or file://."
        )
    # Methods win over folders of the same name; a folder is then written ./NAME.
    if word in METHODS:
        return Source("classical", word)
    path, known = _path(word), entries()
    if path is not None and _is_model(path):
        return _of_path(path, word)
    # An import in the cache is checked against its entry again; a copy on another shelf is used as it is.
    if word in importable() and known.get(word, cache()).is_relative_to(cache()):
        return Source("importable", word)
    if word in known:
        return Source("zoo", str(known[word]))
    # Only now: a word without a slash that is no file was meant as a name.
    if path is not None and (path.exists() or len(path.parts) > 1):
        return _of_path(path, word)
    names = [*others, *METHODS, *known, *importable()]
    raise RasedError(f"there is no checkpoint or method '{cut(word)}'; {nearest(word, names)}")


def _of_path(path: Path, word: str) -> Source:
    """Return the source for a card, the folder of an entry, or the folder of a run."""
    from rased.zoo.runs import is_run

    if path.name == CARD and path.is_file():
        return Source("zoo", str(path.parent))
    if (path / CARD).is_file():
        return Source("zoo", str(path))
    if is_run(path):
        return Source("run", str(path))
    if is_graph(path):
        return Source("graph", str(path.resolve()))
    if path.is_dir():
        raise RasedError(
            f"the folder '{cut(word)}' has neither {CARD} (an entry of the zoo) nor checkpoints/ (a run) nor "
            "model.onnx (an export)."
        )
    if path.is_file():
        raise RasedError(
            f"'{cut(word)}' is a file; give a checkpoint by its folder, its {CARD}, or its name in the zoo."
        )
    known = nearest(word, [*entries(), *importable()])
    raise RasedError(f"there is no folder '{cut(word)}' and no checkpoint of that name; {known}")


def _is_model(path: Path) -> bool:
    from rased.zoo.runs import is_run

    return path.name == CARD or (path / CARD).is_file() or is_run(path) or is_graph(path)


def is_graph(path: Path) -> bool:
    """Return whether a path is a graph or a folder that `rased export` wrote; without importing what runs it.

    An entry of the zoo, which may have its graph beside its weights, is none.
    """
    if path.suffix == ".onnx":
        return path.is_file()
    return not (path / CARD).is_file() and any(
        (path / name).is_file() for name in ("model.onnx", "model.tflite")
    )


def _path(word: str) -> Path | None:
    """Return a name as a path; None if it cannot be one."""
    path = Path(word)
    try:
        path.exists()
    except (OSError, ValueError):
        return None
    return path


def _local(url: str) -> Path:
    """Return the path in a file:// URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        path = _path(urllib.parse.unquote(parts.path))
    except ValueError:
        path = None
    if path is None or parts.netloc not in ("", "localhost"):
        raise RasedError(f"'{cut(url)}' is not the address of a local file: write file:///PATH.")
    return path

"""Addresses of shards on other machines: what is one, how it is shown, and what lies below it.

An address is a URL: http(s)://, hf://datasets/ORG/NAME, or a protocol of fsspec such as s3:// and gs://. Text shows
it without credentials, and an address that was given with some is refused: they would not be in the configuration
of a run, so that resuming it or publishing its result would fail. They come from the environment or ~/.netrc.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

from rased import fetch
from rased.errors import RasedError, cut
from rased.fetch import hub_file

_DATASET = re.compile(
    r"hf://datasets/([\w.-]{1,96}/[\w.-]{1,96})(?:@([A-Za-z0-9][\w.-]{0,95}))?(/.*)?", re.ASCII
)
_VARIABLES = {
    "http": "~/.netrc",
    "https": "~/.netrc",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "HF_TOKEN",
}


class RemoteError(RasedError):
    """A remote file cannot be read or written. This is not the fault of a sample, so no sample is skipped for it."""


class RefusedError(RemoteError):
    """The server answers that the file does not exist, or that access is denied."""


@dataclass(frozen=True, repr=False)
class Address:
    """The URL of a folder or file; `str` gives it without credentials.

    Attributes:
        url: the URL for requests.
    """

    url: str

    def __str__(self) -> str:
        """Return the URL without credentials.

        >>> str(Address("https://me:secret@host/corpus") / "index.json")
        'https://host/corpus/index.json'
        """
        return fetch.without_credentials(self.url)

    def __repr__(self) -> str:
        """Return the constructor call without credentials."""
        return f"Address({str(self)!r})"

    def __truediv__(self, name: str) -> "Address":
        """Return the address of a file or folder below this one; a query stays at the end.

        >>> (Address("https://host/corpus?version=3") / "index.json").url
        'https://host/corpus/index.json?version=3'
        """
        place, mark, query = self.url.partition("?")
        return Address(f"{place.rstrip('/')}/{name}{mark}{query}")

    @property
    def parent(self) -> "Address":
        """Return the address of the folder above."""
        place, mark, query = self.url.partition("?")
        return Address(f"{place.rstrip('/').rpartition('/')[0]}{mark}{query}")

    @property
    def scheme(self) -> str:
        """Return the protocol, such as "s3"."""
        return self.url.partition("://")[0].lower()

    @property
    def http(self) -> str:
        """Return the URL of this address for HTTP or HTTPS; an empty string if fsspec must read it."""
        if fetch.is_url(self.url):
            return self.url
        found = _DATASET.fullmatch(self.url)
        if found is None:
            return ""
        return hub_file(f"datasets/{found[1]}", found[2] or "main", (found[3] or "").strip("/"))


def is_remote(name: object) -> bool:
    """Return whether a name is a URL.

    >>> is_remote("s3://bucket/corpus"), is_remote("shards/speech")
    (True, False)
    """
    return "://" in str(name)


def address(name: str) -> Address:
    """Return the address that somebody gave.

    Raises:
        RemoteError: it has credentials, or it is not a dataset of the Hugging Face Hub.
    """
    given = Address(name.strip())
    if str(given) != given.url:
        where = _VARIABLES.get(given.scheme, "the configuration of fsspec")
        raise RemoteError(
            f"'{cut(str(given))}' was given with credentials: leave them out, and put them into {where}."
        )
    if given.scheme == "hf" and not _DATASET.fullmatch(given.url):
        raise RemoteError(
            f"'{cut(str(given))}' is not a dataset of the Hugging Face Hub: write hf://datasets/ORG/NAME, "
            "hf://datasets/ORG/NAME@REVISION or a folder below."
        )
    return given


def file_system(place: Address) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path in it; one per process.

    Raises:
        RemoteError: the protocol is unknown, or a package is missing.
    """
    extra = {"gs": "gcs", "gcs": "gcs", "hf": "hub"}.get(place.scheme, "remote")
    options = {}
    if place.scheme == "hf" and os.environ.get("HF_ENDPOINT"):
        options["endpoint"] = os.environ["HF_ENDPOINT"].rstrip("/")
    try:
        import fsspec

        if place.scheme == "hf":
            from huggingface_hub.utils import disable_progress_bars

            # It draws them without a terminal, too.
            disable_progress_bars()
        found: tuple[Any, str] = fsspec.url_to_fs(place.url, **options)
        return found
    except ImportError as error:
        raise RemoteError(
            f"'{place}' needs more packages ({cut(str(error))}): pip install 'rased[{extra}]'."
        ) from error
    except ValueError as error:
        reason = cut(fetch.without_credentials(str(error)))
        raise RemoteError(
            f"'{place}' is not an address that fsspec supports ({reason})."
        ) from error

"""Check addresses, and remove credentials from them before they are shown."""

import os
import re
import urllib.parse

from rased.errors import RasedError, cut

_SECRETS = (
    r"[\w.%-]*(?:token|secret|passw(?:or)?d|passphrase|signature|credential|api[_-]?key|access[_-]?key(?:[_-]?id)?)|"
    "auth|authorization|googleaccessid|key|pass|pwd|sig"
)
_USER = re.compile(r"(?<![\w+.-])([A-Za-z][A-Za-z0-9+.-]{0,31}://)[^/?#\s'\"]*@")
_PARAMETER = re.compile(rf"([?&])(?:{_SECRETS})=[^&#\s'\"]*(&?)", re.IGNORECASE)


class FetchError(RasedError):
    """A file that cannot be fetched now.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class RefusedError(FetchError):
    """The server answers that the file does not exist, or that access is denied; trying again does not help."""


def without_credentials(text: str) -> str:
    """Remove user names, passwords and signatures from all URLs in a text.

    >>> without_credentials("https://me:secret@host/a?token=abc&v=1")
    'https://host/a?v=1'
    """
    text = _USER.sub(r"\1", text)
    # Repeated until nothing changes: without one parameter, the text around it may form another.
    before = ""
    while before != text:
        before, text = text, _PARAMETER.sub(_left_out, text)
    return text


def _left_out(found: re.Match[str]) -> str:
    """Return the replacement for a parameter: the mark before it, if another parameter follows."""
    return found[1] if found[2] else ""


def named(url: str) -> str:
    """Return an address for a message: without credentials, and not too long."""
    return cut(without_credentials(url))


def is_url(word: str) -> bool:
    """Return whether a name is an http or https address."""
    return word.lower().startswith(("http://", "https://"))


def hub() -> str:
    """Return the URL of the Hugging Face Hub; $HF_ENDPOINT selects another one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_file(repository: str, revision: str, path: str) -> str:
    """Return the URL of a file of the Hub.

    >>> hub_file("datasets/org/name", "main", "index.json")
    'https://huggingface.co/datasets/org/name/resolve/main/index.json'
    """
    # A revision is one part of the path: that of a pull request contains slashes.
    return f"{hub()}/{repository}/resolve/{urllib.parse.quote(revision, safe='')}/{path}"


def checked_url(url: str) -> str:
    """Return an http or https URL in the form for a request: ASCII, with a host, without a fragment.

    Raises:
        RefusedError: not a valid URL.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url):
            raise ValueError("not http or https, no host, or with spaces")
        if ":" not in host:
            # IPv6 addresses contain colons and are not names, so they must not go through IDNA.
            host = host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as error:
        raise RefusedError(
            f"'{cut(without_credentials(url))}' is not a valid address "
            f"({cut(str(error), 80)}): write http://HOST/PATH or https://HOST/PATH."
        ) from None
    place = f"[{host}]" if ":" in host else host
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    place = f"{user}{place}" + (f":{port}" if port is not None else "")
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'(),;=*+~-._")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'(),;=*+~-._?")
    return urllib.parse.urlunsplit((parts.scheme, place, path, query, ""))

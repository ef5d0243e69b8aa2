"""Fetch files over HTTP and HTTPS, with limits on size, silence and time.

Interrupted downloads are resumed. An address is checked before it is requested, and so is each redirect
of a server. The announced size is compared with the received bytes.
"""

import base64
import http.client
import netrc
import os
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, cast

from rased.errors import RasedError, cut

SILENCE = 30.0
"""Seconds without a byte after which a connection is closed."""
ATTEMPTS = 4
"""Consecutive attempts without a new byte before an address is given up."""
_BLOCK = 1 << 18
_LATER = (408, 425, 429)
"""Status codes below 500 for which another attempt may succeed."""
_WINDOW = 60.0
"""Seconds within which a server must send `_WINDOW * slowest` bytes."""
_SECRETS = (
    "access_?token|api_?key|auth|awsaccesskeyid|key|password|pwd|secret|sig|signature|token|"
    "x-amz-(?:credential|security-token|signature)|x-goog-(?:credential|signature)"
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


@dataclass(frozen=True)
class Answer:
    """The response of a server.

    Attributes:
        version: version of the file, "" if unknown.
        total: size of the file in bytes, None if unknown.
        start: offset of the first piece; 0 from a server without range requests.
        pieces: the bytes as they arrive.
    """

    version: str
    total: int | None
    start: int
    pieces: Iterator[bytes]


def without_credentials(text: str) -> str:
    """Remove user names, passwords and signatures from all URLs in a text.

    >>> without_credentials("https://me:secret@host/a?token=abc&v=1")
    'https://host/a?v=1'
    """
    text = _USER.sub(r"\1", text)
    before = ""
    while before != text:
        before, text = text, _PARAMETER.sub(_left_out, text)
    return text


def _left_out(found: re.Match[str]) -> str:
    """Return the replacement for a parameter: the mark before it, if another parameter follows a `?`."""
    return "?" if found[1] == "?" and found[2] else found[2]


def refuse_offline(what: str) -> None:
    """Raise if RASED_OFFLINE is set.

    Raises:
        RefusedError: it is set.
    """
    if os.environ.get("RASED_OFFLINE", "0") not in ("", "0"):
        raise RefusedError(
            f"'{_named(what)}' is not fetched: RASED_OFFLINE is set; unset it to use the network."
        )


def is_url(word: str) -> bool:
    """Return whether a name is an http or https address."""
    return word.lower().startswith(("http://", "https://"))


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


def read(url: str, *, largest: int, seconds: float = 60.0, silence: float = SILENCE) -> bytes:
    """Fetch a small file.

    Args:
        url: http or https URL.
        largest: maximum bytes.
        seconds: maximum total time.
        silence: maximum seconds without a byte.

    Raises:
        FetchError: the file does not exist, is too large or truncated, or takes too long.
    """
    data = bytearray()
    deadline = time.monotonic() + seconds
    with ask(url, silence=silence, deadline=deadline) as answer:
        assert answer is not None
        for piece in _bounded(url, answer, largest):
            data += piece
    return bytes(data)


def download(
    url: str,
    part: Path,
    *,
    largest: int | None = None,
    slowest: float = 256.0,
    silence: float = SILENCE,
    pause: float = 1.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Append the missing bytes to a file until it has the size that the server announces.

    Args:
        url: http or https URL.
        part: the file with the bytes received so far, if any; it is kept if the download fails.
        largest: maximum bytes.
        slowest: minimum bytes per second, over a minute; a slower server is given up.
        silence: seconds without a byte after which the connection is reopened.
        pause: seconds before another attempt, longer after each.
        progress: called with (bytes received, total bytes or 0).

    Raises:
        FetchError: the download failed.
        OSError: the disk is full or not writable.
    """
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _append(url, part, before, largest, slowest, silence, progress):
                return
            reason: FetchError = FetchError(f"'{_named(url)}': the connection broke.")
        except RefusedError:
            raise
        except FetchError as error:
            reason = error
        after = part.stat().st_size if part.is_file() else 0
        failures = 0 if after > before else failures + 1
        if failures == ATTEMPTS:
            raise reason
        time.sleep(pause * failures)


@contextmanager
def ask(
    url: str,
    *,
    start: int = 0,
    stop: int | None = None,
    known: str = "",
    silence: float = SILENCE,
    deadline: float | None = None,
) -> Iterator[Answer | None]:
    """Request bytes [start, stop) of a file; None if it is still of the known version.

    A server without range requests answers from byte 0. If the connection breaks, the pieces end
    early: compare with `Answer.total`.

    Args:
        url: http or https URL; a name and a password in it, or in ~/.netrc, are sent to its host only.
        start: first byte.
        stop: end of the range; None: end of the file.
        known: version that is already known.
        silence: maximum seconds without a byte.
        deadline: time limit for everything, on the clock of `time.monotonic`.

    Raises:
        RefusedError: the answer would be the same next time.
        FetchError: another attempt may succeed.
    """
    refuse_offline(url)
    request = _request(checked_url(url), start, stop, known)
    try:
        reply = _OPENER.open(request, timeout=_left(silence, deadline, url))
    except urllib.error.HTTPError as error:
        with closing(error):
            yield _answered(url, error, start)
        return
    except RasedError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(url, error) from None
    with closing(reply):
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
        if span and int(span[1]) != start:
            raise RefusedError(
                f"'{_named(url)}': the server sent another part than that from byte {start}."
            )
        length = span[2] if span else reply.headers.get("Content-Length", "*")
        yield Answer(
            version=reply.headers.get("ETag") or reply.headers.get("Last-Modified", ""),
            total=int(length) if re.fullmatch(r"\d{1,18}", length) else None,
            start=start if span else 0,
            pieces=_pieces(url, reply, silence, deadline),
        )


def _request(url: str, start: int, stop: int | None, known: str) -> urllib.request.Request:
    """Return a request with user name and password in a header instead of the address."""
    parts = urllib.parse.urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    headers = {"User-Agent": "rased", "Accept-Encoding": "identity"}
    request = urllib.request.Request(
        urllib.parse.urlunsplit(parts._replace(netloc=place)), headers=headers
    )
    name, _, password = (urllib.parse.unquote(word) for word in user.partition(":"))
    if not user:
        name, password = _netrc(parts.hostname or "")
    if name or password:
        token = base64.b64encode(f"{name}:{password}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    if start or stop is not None:
        request.add_header("Range", f"bytes={start}-{'' if stop is None else stop - 1}")
    if known:
        quoted = known.startswith(('"', "W/"))
        request.add_header("If-None-Match" if quoted else "If-Modified-Since", known)
    return request


def _netrc(host: str) -> tuple[str, str]:
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError, RuntimeError, ValueError):
        return "", ""
    return ("", "") if found is None else (found[0] or "", found[2] or "")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, never from https to http; a password is sent to its host only."""

    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Check the target of a redirect."""
        try:
            newurl = checked_url(newurl)
        except RefusedError:
            fp.close()
            raise
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if (old.scheme, new.scheme) == ("https", "http") or "@" in new.netloc:
            fp.close()
            raise RefusedError(
                f"'{_named(req.full_url)}' redirects to '{_named(newurl)}', without encryption or with a "
                "password in it: not followed."
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        password = req.unredirected_hdrs.get("Authorization")
        if request and password and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", password)
        return request


class _Headers:
    """Limits the time for the headers of a response, even if they arrive byte by byte."""

    def getresponse(self) -> http.client.HTTPResponse:
        """Wait for the headers, with the same time limit as for the body."""
        connection = cast(Any, self)
        timer = threading.Timer(connection.timeout, connection.sock.shutdown, (socket.SHUT_RDWR,))
        timer.daemon = True
        timer.start()
        try:
            return cast(http.client.HTTPResponse, super().getresponse())
        finally:
            timer.cancel()


class _Connection(_Headers, http.client.HTTPConnection):
    pass


class _SecureConnection(_Headers, http.client.HTTPSConnection):
    pass


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler(),
    _Http(),
    _Https(),
    urllib.request.HTTPDefaultErrorHandler(),
    urllib.request.HTTPErrorProcessor(),
    _Redirects(),
):
    _OPENER.add_handler(_handler)


def _answered(url: str, error: urllib.error.HTTPError, start: int) -> Answer | None:
    """Interpret a response without the file: no new version, no more bytes, or a failure."""
    if error.code == 304:
        return None
    total = re.fullmatch(r"bytes \*/(\d{1,18})", error.headers.get("Content-Range", ""))
    if error.code == 416 and total:
        return Answer("", int(total[1]), start, iter(()))
    kind = RefusedError if error.code < 500 and error.code not in _LATER else FetchError
    reason = f"{error.code} {cut(str(error.reason), 80)}"
    login = " (a name and a password go into ~/.netrc)" if error.code == 401 else ""
    raise kind(
        f"'{_named(url)}' cannot be fetched: the server answers {reason}{login}.", reason.lower()
    ) from None


def _pieces(url: str, reply: Any, silence: float, deadline: float | None) -> Iterator[bytes]:
    while True:
        try:
            sock = getattr(getattr(reply.fp, "raw", None), "_sock", None)
            if sock is not None:
                sock.settimeout(_left(silence, deadline, url))
            piece = reply.read1(_BLOCK)
        except http.client.IncompleteRead:
            raise FetchError(
                f"'{_named(url)}' is incomplete: the connection broke; try again."
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _failed(url, error) from None
        if not piece:
            return
        yield piece


def _left(silence: float, deadline: float | None, url: str) -> float:
    """Return the seconds to wait for the next byte.

    Raises:
        FetchError: the time is over.
    """
    if deadline is None:
        return silence
    left = deadline - time.monotonic()
    if left <= 0:
        raise RefusedError(f"'{_named(url)}' cannot be fetched: the server sends too slowly.")
    return min(silence, left)


def _bounded(url: str, answer: Answer, largest: int | None) -> Iterator[bytes]:
    """Yield the pieces of a whole file; check the maximum size and the announced size."""
    done = answer.start
    if largest is not None and (answer.total or 0) > largest:
        raise _too_large(url, largest)
    for piece in answer.pieces:
        done += len(piece)
        if largest is not None and done > largest:
            raise _too_large(url, largest)
        yield piece
    if answer.total is not None and done != answer.total:
        raise FetchError(
            f"'{_named(url)}' is incomplete: {done} of {answer.total} bytes arrived; try again."
        )


def _append(
    url: str,
    part: Path,
    start: int,
    largest: int | None,
    slowest: float,
    silence: float,
    progress: Callable[[int, int], None],
) -> bool:
    """Request the bytes from `start` and append them; return whether the file is complete."""
    with ask(url, start=start, silence=silence) as answer:
        assert answer is not None
        if start and answer.total is not None and answer.total < start:
            part.unlink()  # the existing bytes belong to another file
            return False
        begun, since, marked = time.monotonic(), time.monotonic(), answer.start
        with part.open("ab" if answer.start else "wb") as file:
            for piece in _bounded(url, answer, largest):
                file.write(piece)
                progress(file.tell(), answer.total or 0)
                now = time.monotonic()
                if now - since >= _WINDOW:
                    if file.tell() - marked < slowest * (now - since):
                        raise RefusedError(
                            f"'{_named(url)}' sends too slowly: {file.tell() - answer.start} bytes in "
                            f"{now - begun:.0f} seconds; the received part is kept."
                        )
                    since, marked = now, file.tell()
    return True


def _failed(url: str, error: Exception) -> FetchError:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    reason = str(inner) or type(inner).__name__
    lasting = isinstance(inner, ssl.SSLCertVerificationError | ValueError)
    kind = RefusedError if lasting else FetchError
    reason = cut(without_credentials(reason), 120)
    return kind(f"'{_named(url)}' cannot be fetched: {reason}.", reason)


def _too_large(url: str, largest: int) -> FetchError:
    size = f"{largest >> 20} MB" if largest >= 1 << 20 else f"{largest} bytes"
    return RefusedError(f"'{_named(url)}' is larger than {size}, so it was not fetched.")


def _named(url: str) -> str:
    return cut(without_credentials(url))

"""Fetch files over HTTP and HTTPS, with limits on size, silence and time.

Interrupted downloads are resumed. An address is checked before it is requested, and so is each redirect
of a server. The announced size is compared with the received bytes.
"""

import http.client
import os
import re
import ssl
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rased.errors import RasedError, cut
from rased.fetch.addresses import (
    FetchError,
    RefusedError,
    checked_url,
    hub_file,
    is_url,
    named,
    without_credentials,
)
from rased.fetch.opener import OPENER, request_for

__all__ = [
    "Answer",
    "FetchError",
    "RefusedError",
    "ask",
    "checked_url",
    "download",
    "hub_file",
    "is_url",
    "read",
    "refuse_offline",
    "without_credentials",
]

SILENCE = 30.0
"""Seconds without a byte after which a connection is closed."""
ATTEMPTS = 4
"""Consecutive attempts without a new byte before an address is given up."""
_BLOCK = 1 << 18
_LATER = (408, 425, 429)
"""Status codes below 500 for which another attempt may succeed."""
_WINDOW = 60.0
"""Seconds within which a server must send `_WINDOW * slowest` bytes."""


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


def refuse_offline(what: str) -> None:
    """Raise if RASED_OFFLINE is set.

    Raises:
        RefusedError: it is set.
    """
    if os.environ.get("RASED_OFFLINE", "0") not in ("", "0"):
        raise RefusedError(
            f"'{named(what)}' is not fetched: RASED_OFFLINE is set; unset it to use the network."
        )


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
            reason: FetchError = FetchError(f"'{named(url)}': the connection broke.")
        except RefusedError:
            raise
        except FetchError as error:
            reason = error
        after = part.stat().st_size if part.is_file() else 0
        # A server that cuts every connection still gets the file across, as long as each attempt brings some bytes.
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
    request = request_for(checked_url(url), start, stop, known)
    try:
        reply = OPENER.open(request, timeout=_left(silence, deadline, url))
    except urllib.error.HTTPError as error:
        with closing(error):
            # urllib raises 304 and 416 as errors, but here they are answers: nothing new, and nothing left to send.
            yield _answered(url, error, start)
        return
    except RasedError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(url, error) from None
    with closing(reply):
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
        # Appending another part than the requested one would corrupt the file without an error.
        if span and int(span[1]) != start:
            raise RefusedError(
                f"'{named(url)}': the server sent another part than that from byte {start}."
            )
        length = span[2] if span else reply.headers.get("Content-Length", "*")
        yield Answer(
            version=reply.headers.get("ETag") or reply.headers.get("Last-Modified", ""),
            total=int(length) if re.fullmatch(r"\d{1,18}", length) else None,
            start=start if span else 0,
            pieces=_pieces(url, reply, silence, deadline),
        )


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
        f"'{named(url)}' cannot be fetched: the server answers {reason}{login}.", reason.lower()
    ) from None


def _pieces(url: str, reply: Any, silence: float, deadline: float | None) -> Iterator[bytes]:
    while True:
        try:
            # http.client has no public way to change the timeout of a response; without the attribute, that of the
            # request applies.
            sock = getattr(getattr(reply.fp, "raw", None), "_sock", None)
            if sock is not None:
                sock.settimeout(_left(silence, deadline, url))
            # read1 returns what has arrived, read would wait for a whole block: then progress and limits would lag.
            piece = reply.read1(_BLOCK)
        except http.client.IncompleteRead:
            raise FetchError(
                f"'{named(url)}' is incomplete: the connection broke; try again."
            ) from None
        except RasedError:  # of `_left`; it is a ValueError, too
            raise
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
        raise RefusedError(f"'{named(url)}' cannot be fetched: the server sends too slowly.")
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
            f"'{named(url)}' is incomplete: {done} of {answer.total} bytes arrived; try again."
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
        # Without range requests the server starts again at byte 0, so the old bytes must go.
        with part.open("ab" if answer.start else "wb") as file:
            for piece in _bounded(url, answer, largest):
                file.write(piece)
                progress(file.tell(), answer.total or 0)
                now = time.monotonic()
                # Over a window, not over the whole download: a server that stalls after a fast start is noticed, too.
                if now - since >= _WINDOW:
                    if file.tell() - marked < slowest * (now - since):
                        raise RefusedError(
                            f"'{named(url)}' sends too slowly: {file.tell() - answer.start} bytes in "
                            f"{now - begun:.0f} seconds; the received part is kept."
                        )
                    since, marked = now, file.tell()
    return True


def _failed(url: str, error: Exception) -> FetchError:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    reason = str(inner) or type(inner).__name__
    # A wrong certificate or address stays wrong, so another attempt would only cost time.
    lasting = isinstance(inner, ssl.SSLCertVerificationError | ValueError)
    kind = RefusedError if lasting else FetchError
    reason = cut(without_credentials(reason), 120)
    return kind(f"'{named(url)}' cannot be fetched: {reason}.", reason)


def _too_large(url: str, largest: int) -> FetchError:
    size = f"{largest >> 20} MB" if largest >= 1 << 20 else f"{largest} bytes"
    return RefusedError(f"'{named(url)}' is larger than {size}, so it was not fetched.")

"""Read files at any address piece by piece; interrupted transfers continue where they stopped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rased import fetch
from rased.data.shards.address import Address, RefusedError, RemoteError, file_system
from rased.errors import RasedError, cut
from rased.fetch import Answer
from rased.machine import cache_folder

_PIECE = 2 << 20
_ATTEMPTS = 8
"""Consecutive attempts without a new byte before a file is given up."""
_FIRST_ATTEMPTS = 4
"""The same for an index, the first file that is read at an address."""
_PAUSE = 0.5
"""Seconds before the second attempt; doubled for each later attempt."""
_SILENCE = 60.0
"""Seconds without a byte after which a connection is given up."""
# Request timeout, too early, too many requests: the same request may succeed later.
_LATER = (408, 425, 429)
_VERSIONS = ("ETag", "etag", "LastModified", "mtime", "created")


def whole(place: Address) -> bytes:
    """Return a whole file.

    Raises:
        RemoteError: it cannot be read.
    """
    data = bytearray()
    for _, offset, piece in transfer(place, 0, None, attempts=_FIRST_ATTEMPTS):
        # Not +=: a server without ranges begins again after an interruption.
        data[offset:] = piece
    return bytes(data)


def fetched(place: Address, file: Path, *, known: str = "") -> str | None:
    """Write a whole file to disk piece by piece; return its version, or None if it is still the known one.

    Raises:
        RemoteError: it cannot be read.
        OSError: the disk is full or not writable.
    """
    version = None
    with file.open("wb") as stream:
        for answer, offset, piece in transfer(
            place, 0, None, known=known, attempts=_FIRST_ATTEMPTS
        ):
            stream.seek(offset)
            stream.truncate()
            stream.write(piece)
            version = answer.version
    return version


def transfer(
    place: Address,
    start: int,
    stop: int | None,
    *,
    total: int | None = None,
    known: str = "",
    attempts: int = _ATTEMPTS,
) -> Iterator[tuple[Answer, int, bytes]]:
    """Yield bytes [start, stop) of a file as (answer, offset, piece); continue after an interruption.

    A server without range requests sends the whole file, from offset 0. Nothing is yielded if
    the file is of the known version.

    Args:
        place: the file.
        start: first byte.
        stop: end of the range; None: end of the file.
        total: required size of the file in bytes.
        known: version that is already known.
        attempts: consecutive attempts without a new byte.

    Raises:
        RefusedError: the file does not exist, or access is denied.
        RemoteError: too many attempts failed, or the file has another size.
    """
    ask = partial(_ask_http, place.http) if place.http else partial(_ask, *file_system(place))
    at = reached = start
    shown = cut(str(place))
    failures = 0
    while True:
        try:
            with ask(at, stop, known) as answer:
                if answer is None:
                    return
                if total is not None and answer.total not in (None, total):
                    raise RemoteError(
                        f"'{shown}' has {answer.total} bytes, but its index says {total}: it was changed, or copied "
                        "only partly. Copy the folder again as `rased data pack` wrote it, index.json last."
                    )
                if answer.start != at:
                    at, stop = answer.start, total
                for piece in answer.pieces:
                    yield answer, at, piece
                    at += len(piece)
                    # Bytes that were received before do not count as progress.
                    if at > reached:
                        reached, failures = at, 0
                end = answer.total if stop is None else stop
                if end is None or at >= end:
                    return
                reason = "the connection broke"
        except fetch.RefusedError as error:
            raise RefusedError(
                f"'{shown}' cannot be read ({error.reason}): check the address and the credentials."
            ) from error
        except fetch.FetchError as error:
            reason = error.reason
        except RasedError:
            raise
        except Exception as error:  # each file system of fsspec has its own exceptions
            reason = reason_of(error)
            if lasting(error):
                raise RefusedError(
                    f"'{shown}' cannot be read ({reason}): check the address and the credentials."
                ) from error
        failures += 1
        if failures == attempts:
            raise RemoteError(
                f"'{shown}' cannot be read after {attempts} attempts ({reason}): check the connection and the "
                f"address, then run the command again. Received data is kept in '{cache_folder()}'."
            )
        time.sleep(_PAUSE * 2 ** (failures - 1))


def reason_of(error: Exception) -> str:
    """Return the message of a file system in a few words, without credentials."""
    if isinstance(error, FileNotFoundError):
        return "404 not found"
    status = getattr(error, "status", "")  # of an HTTP response
    text = f"{status} {getattr(error, 'message', error)}".strip() or type(error).__name__
    return cut(fetch.without_credentials(text))


def lasting(error: Exception) -> bool:
    """Return whether the same request would fail again."""
    status = getattr(error, "status", 0)
    return (
        isinstance(error, FileNotFoundError | PermissionError)
        or (400 <= status < 500 and status not in _LATER)
        or type(error).__name__.endswith("CredentialsError")
    )


@contextmanager
def _ask(
    system: Any, path: str, start: int, stop: int | None, known: str
) -> Iterator[Answer | None]:
    """Request bytes [start, stop) of a file; None if it is of the known version."""
    info = system.info(path)
    # fsspec has no common name: these are those of S3, of Google, of SFTP and local files, and of memory.
    version = str(next((info[name] for name in _VERSIONS if info.get(name)), ""))
    end = info["size"] if stop is None else min(stop, info["size"])
    pieces = (
        system.cat_file(path, start=at, end=min(at + _PIECE, end))
        for at in range(start, end, _PIECE)
    )
    yield None if known and version == known else Answer(version, info["size"], start, pieces)


@contextmanager
def _ask_http(url: str, start: int, stop: int | None, known: str) -> Iterator[Answer | None]:
    """Do the same over HTTP, in one request."""
    with fetch.ask(url, start=start, stop=stop, known=known, silence=_SILENCE) as answer:
        yield answer

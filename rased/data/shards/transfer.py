"""Files at any address that fsspec reads, piece by piece: what breaks off goes on where it stopped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rased import fetch
from rased.config import cache_folder
from rased.errors import RasedError, cut
from rased.fetch import Answer

_PIECE = 2 << 20
_ATTEMPTS = 8
"""In a row without a single new byte, before a file is given up."""
_FIRST_ATTEMPTS = 4
"""The same for an index, by which an address is first tried."""
_PAUSE = 0.5
"""Seconds before the second attempt, doubled with each one after it."""
_SILENCE = 60.0
"""Seconds without a byte after which a connection is given up."""
_LATER = (408, 425, 429)
_VERSIONS = ("ETag", "LastModified", "mtime")


class RemoteError(RasedError):
    """A file that cannot be had from where it lies; no sample is at fault, so none is skipped for it."""


class RefusedError(RemoteError):
    """The other side answers that there is no such file, or that it is not for us."""


def whole(url: str, *, known: str = "") -> tuple[bytes, str]:
    """A whole file and its version; nothing where it still is the known one."""
    data, version = bytearray(), known
    for answer, offset, piece in transfer(url, 0, None, known=known, attempts=_FIRST_ATTEMPTS):
        data[offset:] = piece
        version = answer.version
    return bytes(data), version


def transfer(
    url: str,
    start: int,
    stop: int | None,
    *,
    total: int | None = None,
    known: str = "",
    attempts: int = _ATTEMPTS,
) -> Iterator[tuple[Answer, int, bytes]]:
    """Bytes [start, stop) of a file as (answer, offset, piece); what breaks off goes on where it stopped.

    From a server that knows no ranges all of the file comes, from offset 0 on. Nothing comes where
    the file is of the known version.

    Args:
        url: of the file.
        start: first byte.
        stop: behind the last byte; None for the end.
        total: bytes that the file must have.
        known: version that need not come again.
        attempts: in a row without a new byte.

    Raises:
        RefusedError: there is no such file, or not for us.
        RemoteError: too many attempts failed, or the file has another length.
    """
    ask = partial(_ask_http, url) if fetch.is_url(url) else partial(_ask, *_file_system(url))
    at = reached = start
    shown = fetch.without_credentials(url)
    failures = 0
    while True:
        try:
            with ask(at, stop, known) as answer:
                if answer is None:
                    return
                if total is not None and answer.total not in (None, total):
                    raise RemoteError(
                        f"'{shown}' has {answer.total} bytes and its index says {total}: it was changed, or copied in "
                        "part. Copy the folder there again as `rased data pack` wrote it, index.json last."
                    )
                if answer.start != at:
                    at, stop = answer.start, total
                for piece in answer.pieces:
                    yield answer, at, piece
                    at += len(piece)
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
        except Exception as error:  # whatever the file system of that address raises
            reason = _reason(error)
            if _lasting(error):
                raise RefusedError(
                    f"'{shown}' cannot be read ({reason}): check the address and the credentials."
                ) from error
        failures += 1
        if failures == attempts:
            raise RemoteError(
                f"'{shown}' cannot be read after {attempts} attempts ({reason}): check the connection and the "
                f"address, then run again. What came is kept in '{cache_folder()}'."
            )
        time.sleep(_PAUSE * 2 ** (failures - 1))


def _reason(error: Exception) -> str:
    """In a few words, what a file system complains of."""
    if isinstance(error, FileNotFoundError):
        return "404 not found"
    status = getattr(error, "status", "")  # of an answer over HTTP
    return f"{status} {getattr(error, 'message', error)}".strip() or type(error).__name__


def _lasting(error: Exception) -> bool:
    """Whether the same question would get the same answer."""
    status = getattr(error, "status", 0)
    return (
        isinstance(error, FileNotFoundError | PermissionError)
        or (400 <= status < 500 and status not in _LATER)
        or type(error).__name__.endswith("CredentialsError")
    )


def _file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path there; one each process."""
    try:
        import fsspec

        return fsspec.url_to_fs(url)
    except ImportError as error:
        raise RemoteError(
            f"Reading '{fetch.without_credentials(url)}' needs more packages ({error}): pip install 'rased[remote]'."
        ) from error
    except ValueError as error:
        raise RemoteError(
            f"'{fetch.without_credentials(url)}' is no address that fsspec reads ({cut(str(error))})."
        ) from error


@contextmanager
def _ask(
    system: Any, path: str, start: int, stop: int | None, known: str
) -> Iterator[Answer | None]:
    """Ask for bytes [start, stop) of a file; None where it is of the known version."""
    info = system.info(path)
    version = str(next((info[name] for name in _VERSIONS if info.get(name)), ""))
    end = info["size"] if stop is None else min(stop, info["size"])
    pieces = (
        system.cat_file(path, start=at, end=min(at + _PIECE, end))
        for at in range(start, end, _PIECE)
    )
    yield None if known and version == known else Answer(version, info["size"], start, pieces)


@contextmanager
def _ask_http(url: str, start: int, stop: int | None, known: str) -> Iterator[Answer | None]:
    """The same over HTTP, in one request."""
    with fetch.ask(url, start=start, stop=stop, known=known, silence=_SILENCE) as answer:
        yield answer

"""Open HTTP and HTTPS connections: credentials, redirects, and a time limit for the headers."""

import base64
import http.client
import netrc
import os
import socket
import threading
import urllib.parse
import urllib.request
from contextlib import suppress
from http.client import HTTPMessage
from typing import Any, cast

from rased.fetch.addresses import RefusedError, checked_url, hub, named


def request_for(url: str, start: int, stop: int | None, known: str) -> urllib.request.Request:
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
        # urllib copies ordinary headers to the target of a redirect, which may be another host.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    elif os.environ.get("HF_TOKEN") and url.startswith(f"{hub()}/"):
        request.add_unredirected_header("Authorization", f"Bearer {os.environ['HF_TOKEN']}")
    if start or stop is not None:
        request.add_header("Range", f"bytes={start}-{'' if stop is None else stop - 1}")
    if known:
        # An ETag is quoted; otherwise the known version is a date of Last-Modified.
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
                f"'{named(req.full_url)}' redirects to '{named(newurl)}', without encryption or with a "
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
        # A socket's own timeout starts anew with each byte, so a server that drips its headers never exceeds it.
        timer = threading.Timer(connection.timeout, _shut, (connection.sock,))
        timer.daemon = True
        timer.start()
        try:
            return cast(http.client.HTTPResponse, super().getresponse())
        finally:
            timer.cancel()


def _shut(sock: socket.socket) -> None:
    """End a connection from another thread: its reader gets an error at once (a close would not wake it)."""
    with suppress(OSError):  # the connection has ended in the meantime
        sock.shutdown(socket.SHUT_RDWR)


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


# Not urllib.request.build_opener: it also opens file: and ftp: addresses, also as the target of a redirect.
OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler(),
    _Http(),
    _Https(),
    urllib.request.HTTPDefaultErrorHandler(),
    urllib.request.HTTPErrorProcessor(),
    _Redirects(),
):
    OPENER.add_handler(_handler)

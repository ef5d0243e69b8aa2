"""Serve the page and what it asks for, to browsers of this machine."""

import ipaddress
import json
import re
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import rased
from rased.app.desk import LARGEST, Desk
from rased.errors import RasedError, shown
from rased.extras import missing_package

_OURS = Path(__file__).parent / "assets"
_SHARED = Path(rased.__file__).parent / "evaluation" / "report" / "site" / "assets"
"""Style, theme and player are those of the leaderboard."""
_PAGES = {
    "": _OURS / "index.html",
    "app.css": _OURS / "app.css",
    "app.js": _OURS / "app.js",
    "microphone.js": _OURS / "microphone.js",
    "recorder.js": _OURS / "recorder.js",
    "page.css": _SHARED / "page.css",
    "players.js": _SHARED / "players.js",
    "theme.js": _SHARED / "theme.js",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".wav": "audio/wav",
}
_HEADERS = {
    # The browser itself refuses to load anything from elsewhere.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Another page cannot play or show what is here.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_AT_ONCE = 1 << 20
_PATIENCE = 60.0
"""Seconds without a byte after which an upload has ended."""


class Server(ThreadingHTTPServer):
    """The page on an address of this machine; `serve_forever` serves it, `close` ends it.

    Args:
        host: address to listen on; "127.0.0.1" is reachable from this machine alone.
        port: port; 0 for any free one.
        models: see `Desk`.
        allow: see `rased.load`.

    Raises:
        RasedError: a model cannot be loaded, or the address is not available.
    """

    daemon_threads = True

    def __init__(
        self, host: str, port: int, models: Sequence[str] = (), *, allow: Sequence[str] = ()
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rased-app-")
        self.folder, self.host = Path(self._folder.name), host
        try:
            self.desk = Desk(self.folder, models, allow=allow)
            self._listen(host, port)
        except BaseException:
            self._folder.cleanup()
            raise

    def _listen(self, host: str, port: int) -> None:
        if not host:
            raise RasedError("--host is empty; give an address, such as 127.0.0.1.")
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or str(error).rstrip(".")
            raise RasedError(
                f"cannot listen on {host}, port {port}: {said}; choose another with --port (0: any free one)."
            ) from None
        except (TypeError, ValueError):  # from the encoding of the name
            raise RasedError(f"--host is {shown(host)}, which is not an address.") from None

    @property
    def url(self) -> str:
        """Return the address for the browser."""
        host = f"[{self.host}]" if self.address_family == socket.AF_INET6 else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def close(self) -> None:
        """Stop listening, and delete all audio."""
        self.server_close()
        self._folder.cleanup()

    def server_bind(self) -> None:
        """Bind without asking for the name of the address, which may wait for the network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a browser closes a connection: it does so at each seek."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    server_version, sys_version = "rased", ""

    def do_GET(self) -> None:
        """Answer with the page, a sound, a picture, or what the page offers."""
        self._answered(self._get)

    def do_POST(self) -> None:
        """Open a recording, enhance it, or score it."""
        self._answered(self._post)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no log: the terminal shows the address only."""

    def _answered(self, answer: Callable[[], None]) -> None:
        """Answer, or send the reason in one sentence."""
        try:
            self._refuse_strangers()
            answer()
        except RasedError as error:
            self._json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except (BrokenPipeError, ConnectionResetError):
            return
        except ModuleNotFoundError as error:
            self._json({"error": f"{missing_package(error)}."}, HTTPStatus.INTERNAL_SERVER_ERROR)
        except Exception as error:
            said = f"internal error, {type(error).__name__}: {error}"
            self._json({"error": said}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _refuse_strangers(self) -> None:
        """Refuse other web pages: they may neither send requests, nor reach this server under a name of theirs.

        Raises:
            RasedError: the request is from another page.
        """
        host = self.headers.get("Host", "")
        name = _name_of(host)
        origin = self.headers.get("Origin")
        # A page of a stranger can give its own name the address of this machine; it cannot have another's address.
        if not _is_address(name) and name not in ("localhost", self.server.host.casefold()):
            raise RasedError(
                f"this server is not {shown(name)}: open it by its address, or allow the name with --host"
            )
        if origin is not None and origin != f"http://{host}":
            raise RasedError(f"requests of {shown(origin)} are refused: open {self.server.url}")

    def _get(self) -> None:
        path = unquote(self._address()[0]).lstrip("/")
        if path == "offer":
            return self._json(self.server.desk.offer())
        if path in _PAGES:
            return self._file(_PAGES[path])
        place = path.split("/")
        if len(place) == 3 and place[0] == "files":
            return self._file(self.server.desk.file(place[1], place[2]))
        return self._json({"error": f"there is no {shown(path)}."}, HTTPStatus.NOT_FOUND)

    def _post(self) -> None:
        (path, query), desk = self._address(), self.server.desk
        if path == "/recordings":
            return self._json(self._uploaded(parse_qs(query).get("name", ["recording"])[0]))
        doings: dict[str, Callable[..., dict[str, Any]]] = {
            "/examples": partial(_called, desk.open_example, {"name": str}),
            "/enhance": partial(
                _called,
                desk.enhance,
                {"recording": str, "model": str, "limit_db": float | int | None},
            ),
            "/scores": partial(_called, desk.scores, {"recording": str, "version": str}),
        }
        if path not in doings:
            return self._json({"error": f"there is no {shown(path)}."}, HTTPStatus.NOT_FOUND)
        if self._length() > _AT_ONCE:
            raise RasedError("the request is too long.")
        try:
            given = json.loads(self.rfile.read(self._length()))
        except (ValueError, RecursionError):
            raise RasedError("the request is not JSON.") from None
        return self._json(doings[path](given))

    def _uploaded(self, name: str) -> dict[str, Any]:
        """Store the upload, open it, and delete it."""
        left = self._length()
        if left > LARGEST:
            raise RasedError(
                f"'{name}' has {left >> 20} MB; the page takes {LARGEST >> 20}: use `rased enhance`, which takes any "
                "length."
            )
        # Decoders look at the suffix; nothing else of the name reaches the disk.
        suffix = re.search(r"\.\w{1,8}$", name, re.ASCII)
        place = self.server.folder / f"upload-{uuid4().hex}{suffix[0] if suffix else ''}"
        try:
            self.connection.settimeout(_PATIENCE)
            with place.open("wb") as file, suppress(TimeoutError):
                while left and (part := self.rfile.read1(min(left, _AT_ONCE))):
                    file.write(part)
                    left -= len(part)
            self.connection.settimeout(None)
            if left:
                raise RasedError(f"the upload of '{name}' ended early: try again.")
            return self.server.desk.open(place, name)
        finally:
            place.unlink(missing_ok=True)

    def _address(self) -> tuple[str, str]:
        """Return path and query.

        Raises:
            RasedError: the address is not well formed.
        """
        try:
            address = urlsplit(self.path)
        except ValueError:
            raise RasedError(f"{shown(self.path)} is not an address.") from None
        return address.path, address.query

    def _length(self) -> int:
        text = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", text):
            raise RasedError("the request does not say how long it is.")
        return int(text)

    def _json(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(content).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": len(body)})
        self.wfile.write(body)

    def _file(self, path: Path) -> None:
        """Send a file, or the part that the browser asks for, so that it can seek."""
        try:
            file = path.open("rb")
        except FileNotFoundError:  # deleted for a newer one in the meantime
            raise RasedError("this recording is no longer kept: open it again.") from None
        with file:
            size = path.stat().st_size
            headers: dict[str, Any] = {
                "Content-Type": _TYPES[path.suffix],
                "Accept-Ranges": "bytes",
            }
            asked = re.fullmatch("bytes=([0-9]{1,18})-([0-9]{0,18})", self.headers.get("Range", ""))
            first, last, status = 0, size - 1, HTTPStatus.OK
            if asked and int(asked[1]) < size:
                first, last = int(asked[1]), min(int(asked[2] or last), last)
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            left = max(0, last - first + 1)
            self._head(status, headers | {"Content-Length": left})
            file.seek(first)
            while left and (part := file.read(min(left, _AT_ONCE))):
                self.wfile.write(part)
                left -= len(part)

    def _head(self, status: HTTPStatus, headers: dict[str, Any]) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | headers).items():
            self.send_header(name, str(value))
        self.end_headers()


def _called(
    function: Callable[..., dict[str, Any]], fields: dict[str, Any], given: Any
) -> dict[str, Any]:
    """Call a function with the fields of a request.

    Raises:
        RasedError: a field is missing, unknown, or of another type.
    """
    if not isinstance(given, dict) or given.keys() != fields.keys():
        raise RasedError(f"the request is {shown(given)}; it needs {', '.join(fields)}.")
    for name, kind in fields.items():
        if not isinstance(given[name], kind):
            raise RasedError(f"{name} is {shown(given[name])}, which is of another type.")
    return function(**given)


def _name_of(host: str) -> str:
    """Return the name or address in a `Host`, without the port; "" for one that is not well formed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

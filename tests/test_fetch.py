"""One way to fetch, against a server of our own that cuts, drips, lies and sends us elsewhere."""

import base64
import http.server
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rased import fetch
from rased.errors import RasedError
from rased.fetch import FetchError, RefusedError, without_credentials
from tests.serving import running

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by the first word of the path."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 (shared on purpose)

    def log_message(self, *_: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        """Serve."""
        self.asked.append((self.path, dict(self.headers)))
        getattr(self, "get_" + self.path.split("/")[1].split("?")[0])()

    def _head(self, status: int = 200, length: int | None = len(CONTENT), **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _stop(self) -> None:
        self.close_connection = True

    def get_whole(self) -> None:
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        if start >= len(CONTENT):
            self._head(416, 0, Content_Range=f"bytes */{len(CONTENT)}")
            return
        body = CONTENT[start:]
        span = {"Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        self._head(206 if wanted else 200, len(body), **(span if wanted else {}))
        self.wfile.write(body)

    def get_breaks(self) -> None:
        """Whole, in three connections."""
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        span = {"Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        self._head(206 if wanted else 200, len(CONTENT) - start, **(span if wanted else {}))
        self.wfile.write(CONTENT[start : start + 4000])
        self._stop()

    def get_cut(self) -> None:
        self._head()
        self.wfile.write(CONTENT[:100])
        self._stop()

    def get_chunks(self) -> None:
        self._head(length=None, Transfer_Encoding="chunked")
        self.wfile.write(b"64\r\n" + CONTENT[:100] + b"\r\n40\r\nabc")
        self._stop()

    def get_drips(self) -> None:
        self._head()
        self._drip(CONTENT)

    def get_headers(self) -> None:
        self._drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000)

    def _drip(self, content: bytes) -> None:
        try:
            for letter in content:
                self.wfile.write(bytes([letter]))
                self.wfile.flush()
                time.sleep(0.02)
        except OSError:
            self._stop()

    def get_large(self) -> None:
        self._head(length=None, Connection="close")
        self.wfile.write(CONTENT * 10)
        self._stop()

    def get_missing(self) -> None:
        self._head(404, 0)

    def get_busy(self) -> None:
        self._head(503, 0)

    def get_other(self) -> None:
        self._head(206, 10, Content_Range="bytes 5-14/100")
        self.wfile.write(CONTENT[:10])

    def get_garbage(self) -> None:
        self.wfile.write(b"what?\r\n\r\n")
        self._stop()

    def get_to(self) -> None:
        self._head(302, 0, Location=self.path.removeprefix("/to/"))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("HOME", str(tmp_path))
    Server.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    with running(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_a_whole_file(site: str, tmp_path: Path) -> None:
    assert fetch.read(f"{site}/whole", largest=1 << 20) == CONTENT
    fetch.download(f"{site}/whole", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_what_breaks_off_goes_on_where_it_stopped(site: str, tmp_path: Path) -> None:
    fetch.download(f"{site}/breaks", tmp_path / "part", pause=0.0)
    assert (tmp_path / "part").read_bytes() == CONTENT
    ranges = [headers.get("Range") for _, headers in Server.asked]
    assert ranges == [None, "bytes=4000-", "bytes=8000-"]


def test_what_is_there_whole_is_not_sent_again(site: str, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT)
    fetch.download(f"{site}/whole", tmp_path / "part", pause=0.0)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_what_is_longer_than_the_file_is_fetched_anew(site: str, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT * 2)
    fetch.download(f"{site}/whole", tmp_path / "part", pause=0.0)
    assert (tmp_path / "part").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("cut", "is incomplete: 100 of 10240 bytes arrived"),
        ("chunks", "is incomplete"),
        ("missing", "the server answers 404"),
        ("busy", "the server answers 503"),
        ("large", "is larger than 20000 bytes"),
        ("garbage", "cannot be fetched"),
        ("other?", "sent another part"),
        ("to/file:///etc/passwd", "is not a valid address|not allowed"),
        ("to/ftp://127.0.0.1/x", "is not a valid address|not allowed"),
        ("to/http://[::bad/", "is not a valid address"),
        ("to/http://user:secret@127.0.0.1/x", "not followed"),
        ("to/http://" + "a" * 71 + ".de/x", "is not a valid address"),
    ],
)
def test_a_bad_answer_is_one_sentence(site: str, path: str, said: str) -> None:
    with pytest.raises(FetchError, match=said) as refusal:
        fetch.read(f"{site}/{path}", largest=20_000, silence=5.0)
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("path", ["drips", "headers"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(site: str, path: str) -> None:
    begun = time.monotonic()
    with pytest.raises(FetchError, match=r"too slowly|cannot be fetched"):
        fetch.read(f"{site}/{path}", largest=1 << 20, seconds=0.5, silence=5.0)
    assert time.monotonic() - begun < 5  # all of it would take a minute and more


def test_a_slow_download_is_given_up_and_keeps_what_came(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_WINDOW", 0.2)
    with pytest.raises(RefusedError, match="sends too slowly"):
        fetch.download(f"{site}/drips", tmp_path / "part", slowest=1e6, pause=0.0)
    kept = (tmp_path / "part").read_bytes()
    assert kept == CONTENT[: len(kept)]


@pytest.mark.parametrize(
    "url",
    [
        "http://[bad/",
        "http://",
        "http:///card.yaml",
        "ftp://host/x",
        "file:///etc/passwd",
        "//host/x",
        "http://host:port/x",
        "http://host:99999/x",
        "http://" + "a" * 71 + "/x",
        "http://a b/x",
        "http://a/x\r\nHost: b",
        "http://a/\0",
        "javascript:alert(1)",
        "",
        "http://ho\u202est/\ud800",
    ],
)
def test_a_bad_address_is_one_sentence(url: str) -> None:
    with pytest.raises(RefusedError, match="is not a valid address") as refusal:
        fetch.read(url, largest=10)
    assert "\n" not in str(refusal.value)


def test_addresses_go_over_the_line_in_ascii(site: str) -> None:
    assert fetch.checked_url("https://bücher.de/ü?x=ä#part") == (
        "https://xn--bcher-kva.de/%C3%BC?x=%C3%A4"
    )
    assert fetch.read(f"{site}/whole/ü b".replace(" ", "%20"), largest=1 << 20) == CONTENT


def test_a_password_goes_to_its_host_in_a_header_only(site: str, tmp_path: Path) -> None:
    with_password = site.replace("//", "//me:se%40cret@")
    fetch.read(f"{with_password}/whole", largest=1 << 20)
    path, headers = Server.asked[-1]
    token = base64.b64encode(b"me:se@cret").decode()
    assert (path, headers["Authorization"]) == ("/whole", f"Basic {token}")
    fetch.read(f"{with_password}/to//whole", largest=1 << 20)
    assert Server.asked[-1][1]["Authorization"] == f"Basic {token}"
    other = site.replace("127.0.0.1", "localhost")
    fetch.read(f"{with_password}/to/{other}/whole", largest=1 << 20)
    assert "Authorization" not in Server.asked[-1][1]
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password se@cret\n")
    (tmp_path / ".netrc").chmod(0o600)
    fetch.read(f"{site}/whole", largest=1 << 20)
    assert Server.asked[-1][1]["Authorization"] == f"Basic {token}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@host/a", "https://host/a"),
        ("s3://key:pw@bucket/a", "s3://bucket/a"),
        ("['http://u@h/x', 'http://v:w@h/y']", "['http://h/x', 'http://h/y']"),
        ("https://h/a?X-Amz-Signature=abc&part=2", "https://h/a?part=2"),
        ("https://h/a?part=2&token=abc", "https://h/a?part=2"),
        ("https://h/a?sig=abc#frag", "https://h/a#frag"),
        ("https://h/a?x=1&y=2", "https://h/a?x=1&y=2"),
        ("me@host.de writes", "me@host.de writes"),
        ("http://p@ss:w@rd@h/x", "http://h/x"),
        ("no url at all?", "no url at all?"),
    ],
)
def test_credentials_are_cut_from_addresses(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown


@given(st.text(max_size=40), st.text(alphabet="abcXYZ0-_.%", min_size=3, max_size=12))
def test_no_password_survives_whatever_stands_around_it(around: str, word: str) -> None:
    secret = f"SECRET{word}"
    for url in (f"https://me:{secret}@host/x", f"https://host/x?token={secret}&a=b"):
        assert secret not in without_credentials(f"{around} {url}")


def test_errors_of_bad_certificates_and_closed_ports_are_sentences() -> None:
    with pytest.raises(RasedError, match="cannot be fetched"):
        fetch.read("http://127.0.0.1:1/x", largest=10, silence=2.0)


def test_a_server_that_is_too_slow_is_said_once():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reply = SimpleNamespace(fp=SimpleNamespace(raw=SimpleNamespace(_sock=ours)))
        with pytest.raises(RefusedError) as refused:
            next(fetch._pieces("http://localhost/a", reply, 1.0, time.monotonic() - 1))
    assert str(refused.value) == (
        "'http://localhost/a' cannot be fetched: the server sends too slowly."
    )

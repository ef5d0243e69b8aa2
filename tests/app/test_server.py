"""The server answers this machine's page alone, in one sentence where something is wrong."""

import html.parser
import http.client
import json
import os
import random
import re
import signal
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
import soundfile

from rased.app import Server
from rased.app.server import _PAGES
from rased.cli import main
from rased.errors import RasedError
from tests.app.conftest import serving


def request(server, method, path, body=None, **headers):
    """The answer: status, headers, content."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.request(
        method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def ask(server, path, content):
    status, _, answer = request(server, "POST", path, json.dumps(content))
    return status, json.loads(answer)


@pytest.fixture
def recording(server, noisy):
    """The name of an uploaded recording."""
    status, _, answer = request(
        server, "POST", "/recordings?name=" + quote("Mein Gespräch.wav"), noisy.read_bytes()
    )
    assert status == 200, answer
    found = json.loads(answer)
    assert found["title"] == "Mein Gespräch.wav"
    return found["recording"]


class Named(html.parser.HTMLParser):
    """Collects what a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        found = given.get("src") or (given.get("href") if tag == "link" else None)
        if found:
            self.found.append(found)


def test_the_page_names_nothing_that_is_not_there_and_nothing_elsewhere(server):
    status, headers, content = request(server, "GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    reader = Named()
    reader.feed(content.decode())
    assert len(reader.found) >= 6
    for name in [*reader.found, "recorder.js"]:
        assert name == "data:," or request(server, "GET", f"/{name}")[0] == 200, name
    for path in _PAGES.values():
        code = path.read_text(encoding="utf-8")
        assert re.findall(r"https?://[\w.]", code) == [], path


def test_the_browser_is_told_to_load_nothing_from_elsewhere(server):
    for path in ("/", "/app.js", "/offer", "/gone"):
        headers = request(server, "GET", path)[1]
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Python" not in headers["Server"]


def test_a_part_of_a_sound_is_that_part(server, recording, noisy):
    whole = noisy.read_bytes()
    address = f"/files/{recording}/noisy.wav"
    sent = request(server, "GET", address)[2]
    assert sent[44:] == whole[44:]
    size, draw = len(sent), random.Random(3)
    pairs = [(0, size - 1), (0, 0), (size - 1, size - 1), (5, 10**9)]
    pairs += [tuple(sorted(draw.choices(range(size), k=2))) for _ in range(8)]
    for first, last in pairs:
        status, headers, content = request(server, "GET", address, Range=f"bytes={first}-{last}")
        assert status == 206
        assert content == sent[first : last + 1]
        assert headers["Content-Range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
    for rest in (0, 7, size - 1):
        assert request(server, "GET", address, Range=f"bytes={rest}-")[2] == sent[rest:]
    # What a server does not understand, it ignores.
    for odd in ("bytes=-5", "samples=0-4", f"bytes={size}-", "bytes=4-2-1", "bytes=١-٢".encode()):
        assert request(server, "GET", address, Range=odd)[0] == 200


@pytest.mark.parametrize(
    ("headers", "reached"),
    [
        ({"Host": "evil.example"}, False),
        ({"Host": "evil.example:80"}, False),
        ({"Host": ""}, False),
        ({"Host": "localhost:1234"}, True),
        ({"Host": "127.0.0.1"}, True),
        ({"Host": "[::1]:5"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Host": "localhost:80", "Origin": "http://localhost:80"}, True),
        ({"Host": "localhost:80", "Origin": "http://localhost:81"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "[::1"}, False),
    ],
)
def test_other_pages_are_refused(server, headers, reached):
    for method, path in (("GET", "/offer"), ("POST", "/examples")):
        status, _, content = request(server, method, path, '{"name": "m0005"}', **headers)
        assert status == (200 if reached else 400), content
        if not reached:
            assert list(json.loads(content)) == ["error"]


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("/enhance", {}, "it needs recording, model, limit_db"),
        ("/enhance", [], "it needs recording"),
        ("/enhance", {"recording": 1, "model": "log-mmse", "limit_db": None}, "recording is 1"),
        ("/enhance", {"recording": "r1", "model": "log-mmse", "limit_db": "12"}, "another type"),
        ("/enhance", {"recording": "r1", "model": "/etc", "limit_db": 1}, "does not offer '/etc'"),
        ("/examples", {"name": "m9999"}, "there is no example 'm9999'"),
        ("/scores", {"recording": "r0", "version": "noisy"}, "open it again"),
    ],
)
def test_a_wrong_request_gets_a_sentence(server, path, content, said):
    status, answer = ask(server, path, content)
    assert status == 400
    assert said in answer["error"]


@pytest.mark.parametrize("body", ["", "{", "[" * 100_000, "\xff", "NaN"])
def test_what_is_not_json_gets_a_sentence(server, body):
    status, _, content = request(server, "POST", "/examples", body.encode("latin-1"))
    assert (status, list(json.loads(content))) == (400, ["error"])


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/%2e%2e/server.py", "/files/r1/../../x", "/files//etc/passwd", "/app.css/"],
)
def test_no_path_leads_out_of_the_page(server, path):
    status, _, content = request(server, "GET", path)
    assert status in (400, 404)
    assert list(json.loads(content)) == ["error"]


@pytest.mark.parametrize(
    "name", ["../../x.wav", "a/b.wav", "x" * 5000, "", "\0.wav", "x.w/v", "..", "ü.wav"]
)
def test_the_name_of_an_upload_is_only_shown(server, noisy, name):
    path = f"/recordings?name={quote(name)}"
    status, _, content = request(server, "POST", path, noisy.read_bytes())
    assert status == 200, content
    # The folders of recordings, and nothing of uploads.
    assert all(re.fullmatch(r"r\d+", one.name) for one in server.folder.iterdir())


def test_two_users_at_once_get_what_each_gets_alone(server, noisy, tmp_path):
    samples, rate = soundfile.read(noisy, dtype="int16")
    files = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, file in enumerate(files):
        soundfile.write(file, samples[4_000 * number :][:8_000], rate)

    def use(file):
        _, _, answer = request(server, "POST", f"/recordings?name={file.name}", file.read_bytes())
        found, sounds = json.loads(answer)["recording"], []
        for limit in (None, 6):
            wanted = {"recording": found, "model": "gtcrn-tuned-16k", "limit_db": limit}
            status, version = ask(server, "/enhance", wanted)
            assert status == 200, version
            sounds.append(request(server, "GET", f"/{version['sound']}")[2])
        return sounds

    alone = [use(file) for file in files]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, files)) == alone


def test_a_browser_that_closes_in_the_middle_disturbs_nobody(server, recording, capfd):
    for path in (f"/files/{recording}/noisy.wav", "/offer"):
        with socket.create_connection(server.server_address) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            # Closes with a reset, although the answer is on its way.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert request(server, "GET", path)[0] == 200
    assert capfd.readouterr().err == ""


def test_an_upload_that_ends_early_is_refused_and_deleted(server):
    with socket.create_connection(server.server_address) as connection:
        connection.sendall(
            b"POST /recordings?name=a.wav HTTP/1.0\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nRIFF"
        )
        connection.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b"400" in said.splitlines()[0]
    assert b"ended early" in said
    assert not list(server.folder.glob("upload*"))


def test_an_upload_that_stands_still_is_refused_and_deleted(server, monkeypatch):
    monkeypatch.setattr("rased.app.server._PATIENCE", 0.1)
    with socket.create_connection(server.server_address) as connection:
        connection.sendall(
            b"POST /recordings?name=a.wav HTTP/1.0\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nRIFF"
        )
        assert b"ended early" in b"".join(iter(lambda: connection.recv(4096), b""))
    assert not list(server.folder.glob("upload*"))


def test_a_large_upload_is_refused_before_it_is_sent(server):
    with socket.create_connection(server.server_address) as connection:
        connection.sendall(
            b"POST /recordings?name=a.wav HTTP/1.0\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert b"rased enhance" in b"".join(iter(lambda: connection.recv(4096), b""))


def test_a_port_that_is_taken_is_said_in_a_sentence(server, capsys):
    assert main(["app", "--port", str(server.server_address[1]), "--model", "log-mmse"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "choose another with --port" in said
    for port in ("-1", "65536"):
        assert main(["app", "--port", port, "--model", "log-mmse"]) == 2
        assert "choose another with --port" in capsys.readouterr().err


def test_the_command_says_the_address_and_ends_with_ctrl_c(capsys, monkeypatch):
    folders = []

    def interrupted(server):
        folders.append(server.folder)
        assert server.server_address[0] == "127.0.0.1"
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    assert main(["app", "--port", "0", "--model", "log-mmse"]) == 0
    assert re.search(r"open http://127\.0\.0\.1:\d+/ ", capsys.readouterr().err)
    assert not folders[0].exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without telling it")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_deletes_the_recordings_as_ctrl_c_does(monkeypatch, name):
    folders, number = [], getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # as in a new process

    def ended(server):
        folders.append(server.folder)
        (server.folder / "r1").mkdir()
        os.kill(os.getpid(), number)
        raise AssertionError("the signal did nothing")

    monkeypatch.setattr(Server, "serve_forever", ended)
    try:
        assert main(["app", "--port", "0", "--model", "log-mmse"]) == 0
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert not folders[0].exists()


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("", "--host is empty"),
        ("é" * 70, "which is not an address"),
        ("a\0b", "which is not an address"),
        ("no.such.invalid", "cannot listen on no.such.invalid"),
    ],
)
def test_a_wrong_host_is_said_in_a_sentence(host, said):
    with pytest.raises(RasedError, match=said):
        Server(host, 0, ["log-mmse"])


@pytest.mark.parametrize(
    ("host", "name", "url"),
    [
        ("::1", "[::1]", r"http://\[::1\]:\d+/"),
        ("LOCALHOST", "localhost", r"http://LOCALHOST:\d+/"),
    ],
)
def test_other_hosts_of_this_machine(host, name, url):
    try:
        opened = Server(host, 0, ["log-mmse"])
    except RasedError:
        pytest.skip(f"this machine has no {host}")
    assert re.fullmatch(url, opened.url)
    with serving(opened):
        connection = http.client.HTTPConnection(*opened.server_address[:2], timeout=60)
        for words, status in ((name, 200), (f"{name}:80", 200), ("evil.example", 400)):
            connection.request("GET", "/offer", headers={"Host": words})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status


@pytest.mark.parametrize("address", ["http://[x", "//[", "http://[::1"])
def test_an_address_that_is_none_gets_a_sentence(server, address):
    for method in ("GET", "POST"):
        with socket.create_connection(server.server_address) as connection:
            head = f"{method} {address} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode())
            said = b"".join(iter(lambda: connection.recv(4096), b""))
        assert b" 40" in said.splitlines()[0]
        assert b"internal error" not in said


def test_a_sound_that_was_deleted_in_the_meantime_gets_a_sentence(server, noisy, monkeypatch):
    gone = server.folder / "gone.wav"
    monkeypatch.setattr(server.desk, "file", lambda recording, name: gone)
    status, _, content = request(server, "GET", "/files/r1/noisy.wav")
    assert (status, json.loads(content)["error"]) == (
        400,
        "this recording is no longer kept: open it again.",
    )


def test_a_missing_package_is_named(server, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    monkeypatch.setattr(server.desk, "open_example", missing)
    status, answer = ask(server, "/examples", {"name": "m0005"})
    assert status == 500
    assert answer["error"].startswith("this needs the package 'onnxruntime': pip install 'rased[")


def test_an_unknown_model_leaves_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RasedError):
        Server("127.0.0.1", 0, ["no-such-model"])
    assert list(Path(tmp_path).iterdir()) == []

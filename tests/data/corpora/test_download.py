"""Downloads from a loopback server that drops connections, lies and dies; nothing touches the network."""

import errno
import hashlib
import http.client
import io
import json
import socket
import ssl
import tarfile
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
import pytest

from rased.data.corpora.base import Archive
from rased.data.preparation.download import FOLDER, RECORD, fetch, obtain
from rased.errors import RasedError
from tests.serving import running

DATA = np.random.default_rng(0).bytes(300_000)


@dataclass
class Place:
    """What the server does with one path.

    Attributes:
        data: the file.
        drops: bytes after which it closes the connection, one entry a request; then no more.
        ranges: whether it serves parts.
        status: answered instead of anything.
        shift: how far from what was asked for the parts begin that it says it serves.
        asked: the Range of every request.
    """

    data: bytes
    drops: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 200
    shift: int = 0
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server():
    """A server with .places by path and .url(path)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            place = self.server.places.get(self.path, Place(b"", status=404))
            wanted = self.headers.get("Range")
            place.asked.append(wanted)
            start = int(wanted[len("bytes=") : -1]) if wanted and place.ranges else 0
            if place.status != 200:
                self.send_response(place.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if start >= len(place.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(place.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = place.data[start:]
            # Before the client knows anything: it may hang up at the headers, and the test go on.
            drop = place.drops.pop(0) if place.drops else len(body)
            self.send_response(206 if start else 200)
            if start:
                end = f"{len(place.data) - 1}/{len(place.data)}"
                self.send_header("Content-Range", f"bytes {start + place.shift}-{end}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:drop])
            if drop < len(body):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_):
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.places = {}
    server.url = lambda path: f"http://127.0.0.1:{server.server_port}{path}"
    with running(server):
        yield server


def md5(data):
    return f"md5:{hashlib.md5(data, usedforsecurity=False).hexdigest()}"


def archive(*urls, checksum="", name="corpus.zip", **more):
    return Archive(part="all", name=name, urls=urls, holds="corpus", checksum=checksum, **more)


def get(given, folder):
    return fetch(given, folder, timeout=5.0, pause=0.0)


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class TestFetch:
    def test_goes_on_where_the_connection_broke(self, server, tmp_path):
        place = server.places["/a"] = Place(DATA, drops=[100_000, 50_000])
        done = get(archive(server.url("/a"), checksum=md5(DATA)), tmp_path)
        assert (tmp_path / "corpus.zip").read_bytes() == DATA
        assert place.asked == [None, "bytes=100000-", "bytes=150000-"]
        assert done.bytes == len(DATA)
        assert done.sha256 == hashlib.sha256(DATA).hexdigest()

    def test_goes_on_in_another_run(self, server, tmp_path):
        place = server.places["/a"] = Place(DATA, drops=[100_000, 0, 0, 0, 0])
        given = archive(server.url("/a"), checksum=md5(DATA))
        with pytest.raises(RasedError, match=r"is incomplete|the connection broke"):
            get(given, tmp_path)
        assert (tmp_path / "corpus.zip.part").stat().st_size == 100_000
        get(given, tmp_path)
        assert place.asked[-1] == "bytes=100000-"
        assert (tmp_path / "corpus.zip").read_bytes() == DATA

    def test_starts_anew_where_the_server_knows_no_parts(self, server, tmp_path):
        place = server.places["/a"] = Place(DATA, drops=[100_000], ranges=False)
        get(archive(server.url("/a"), checksum=md5(DATA)), tmp_path)
        assert (tmp_path / "corpus.zip").read_bytes() == DATA
        assert place.asked == [None, "bytes=100000-"]

    def test_a_whole_part_is_not_fetched_again(self, server, tmp_path):
        server.places["/a"] = Place(DATA)
        (tmp_path / "corpus.zip.part").write_bytes(DATA)
        get(archive(server.url("/a"), checksum=md5(DATA)), tmp_path)
        assert (tmp_path / "corpus.zip").read_bytes() == DATA

    def test_another_part_than_was_asked_for_is_not_appended(self, server, tmp_path):
        server.places = {"/a": Place(DATA, drops=[1000], shift=7), "/b": Place(DATA)}
        given = archive(server.url("/a"), server.url("/b"), checksum=md5(DATA))
        assert get(given, tmp_path).url == server.url("/b")
        assert (tmp_path / "corpus.zip").read_bytes() == DATA
        server.places["/a"].drops = [1000]
        with pytest.raises(RasedError, match="another part than that from byte 1000"):
            get(archive(server.url("/a"), name="other.zip"), tmp_path)

    @pytest.mark.parametrize(
        "error",
        [
            ssl.SSLError(1, "[SSL: DECRYPTION_FAILED] bad record mac"),
            OSError(errno.EHOSTUNREACH, "No route to host"),
        ],
    )
    def test_goes_on_after_an_error_within_the_body(self, server, tmp_path, monkeypatch, error):
        server.places["/a"] = place = Place(DATA)
        read, errors = http.client.HTTPResponse.read1, [error]

        def broken(answer, amount=-1):
            if errors and not answer.headers.get("Content-Range"):
                block = read(answer, 1000)
                answer.read1 = lambda amount: (_ for _ in ()).throw(errors.pop())
                return block
            return read(answer, amount)

        monkeypatch.setattr(http.client.HTTPResponse, "read1", broken)
        get(archive(server.url("/a"), checksum=md5(DATA)), tmp_path)
        assert place.asked == [None, "bytes=1000-"]
        assert (tmp_path / "corpus.zip").read_bytes() == DATA

    def test_a_dead_mirror_makes_way(self, server, tmp_path):
        server.places["/b"] = Place(DATA)
        dead = f"http://127.0.0.1:{closed_port()}/a"
        for number, first in enumerate((dead, server.url("/missing"))):
            folder = tmp_path / str(number)
            folder.mkdir()
            done = get(archive(first, server.url("/b"), checksum=md5(DATA)), folder)
            assert done.url == server.url("/b")

    def test_a_mirror_goes_on_with_what_another_gave(self, server, tmp_path):
        server.places["/a"] = Place(DATA, drops=[100_000, 0, 0, 0, 0])
        second = server.places["/b"] = Place(DATA)
        get(archive(server.url("/a"), server.url("/b"), checksum=md5(DATA)), tmp_path)
        assert second.asked == ["bytes=100000-"]

    def test_without_a_checksum_files_of_two_mirrors_are_not_mixed(self, server, tmp_path):
        server.places["/a"] = Place(DATA, drops=[100_000, 0, 0, 0, 0])
        second = server.places["/b"] = Place(DATA[::-1])
        done = get(archive(server.url("/a"), server.url("/b")), tmp_path)
        assert second.asked == [None]
        assert done.checked == ""
        assert done.sha256 == hashlib.sha256(DATA[::-1]).hexdigest()

    def test_a_wrong_checksum_is_never_accepted(self, server, tmp_path):
        server.places["/a"] = Place(DATA[:-1] + b"x")
        with pytest.raises(RasedError, match=r"its md5 is \w{32}, but should be \w{32}"):
            get(archive(server.url("/a"), checksum=md5(DATA)), tmp_path)
        assert list(tmp_path.iterdir()) == []
        server.places["/b"] = Place(DATA)
        done = get(archive(server.url("/a"), server.url("/b"), checksum=md5(DATA)), tmp_path)
        assert done.url == server.url("/b")
        assert (tmp_path / "corpus.zip").read_bytes() == DATA

    def test_a_file_fetched_by_hand_is_checked_too(self, server, tmp_path):
        (tmp_path / "corpus.zip").write_bytes(DATA)
        given = archive(server.url("/a"), checksum=md5(DATA))
        assert get(given, tmp_path).sha256 == hashlib.sha256(DATA).hexdigest()
        (tmp_path / "corpus.zip").write_bytes(DATA[:-1])
        with pytest.raises(RasedError, match="is not the expected file"):
            get(given, tmp_path)

    def test_every_reason_is_named(self, server, tmp_path):
        server.places["/a"] = Place(b"", status=503)
        with pytest.raises(RasedError) as caught:
            get(archive(server.url("/a"), server.url("/gone")), tmp_path)
        assert "the server answers 503" in str(caught.value)
        assert "the server answers 404" in str(caught.value)
        assert "by hand" in str(caught.value)


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def tarred(files, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


FILES = {"corpus/a.wav": DATA[:5000], "corpus/deep/b.wav": DATA[5000:9000], "corpus/c": b""}


class TestObtain:
    @pytest.mark.parametrize(
        "data",
        [zipped(FILES), tarred(FILES), tarred(FILES, "w:bz2"), tarred(FILES, "w")],
        ids=["zip", "tar.gz", "tar.bz2", "tar"],
    )
    def test_unpacks_once(self, server, tmp_path, data):
        place = server.places["/a"] = Place(data)
        given = archive(server.url("/a"), checksum=md5(data))
        for _ in range(2):
            record = obtain([given], tmp_path, timeout=5.0, pause=0.0)
            assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
        assert len(place.asked) == 1
        assert record["corpus.zip"].checked == md5(data)
        assert not (tmp_path / FOLDER / "corpus.zip").exists()
        stored = json.loads((tmp_path / FOLDER / RECORD).read_text())
        assert stored["corpus.zip"]["sha256"] == hashlib.sha256(data).hexdigest()

    def test_what_lies_there_unpacked_is_not_fetched(self, server, tmp_path):
        (tmp_path / "corpus").mkdir()
        assert obtain([archive(server.url("/a"))], tmp_path, timeout=5.0, pause=0.0) == {}

    def test_an_interrupted_unpacking_is_done_again(self, server, tmp_path):
        server.places["/a"] = Place(zipped(FILES))
        (tmp_path / "corpus").mkdir()
        (tmp_path / FOLDER).mkdir()
        (tmp_path / FOLDER / "corpus.zip").write_bytes(zipped(FILES))
        obtain([archive(server.url("/a"))], tmp_path, timeout=5.0, pause=0.0)
        assert (tmp_path / "corpus/a.wav").read_bytes() == FILES["corpus/a.wav"]

    @pytest.mark.parametrize("name", ["../evil.wav", "/tmp/evil.wav", "corpus/../../evil.wav"])
    def test_nothing_is_written_outside(self, server, tmp_path, name):
        for number, data in enumerate((zipped({name: b"x"}), tarred({name: b"x"}))):
            server.places["/a"] = Place(data)
            root = tmp_path / str(number) / "root"
            with pytest.raises(RasedError, match="would be written outside of the folder"):
                obtain([archive(server.url("/a"))], root, timeout=5.0, pause=0.0)
        assert not list(tmp_path.rglob("evil*"))

    @pytest.mark.parametrize(
        "data",
        [
            zipped(FILES)[:6000],
            tarred(FILES)[:6000],
            zipped(FILES).replace(DATA[100:200], DATA[200:300]),
            b"<html>Please log in</html>",
        ],
        ids=["zip cut", "tar cut", "zip damaged", "a page"],
    )
    def test_a_damaged_archive_is_named_and_removed(self, server, tmp_path, data):
        server.places["/a"] = Place(data)
        with pytest.raises(RasedError, match=r"is damaged .* run the same command again"):
            obtain([archive(server.url("/a"))], tmp_path, timeout=5.0, pause=0.0)
        assert not list((tmp_path / FOLDER).iterdir())

    def test_a_tar_of_many_files_is_not_held_in_memory(self, server, tmp_path, monkeypatch):
        content, held, opened = io.BytesIO(), [], tarfile.open
        with opened(fileobj=content, mode="w:gz") as tar:
            for number in range(50):
                tar.addfile(tarfile.TarInfo(f"corpus/{number}.wav"))

        def watched(*words, **options):
            tar = opened(*words, **options)
            following = tar.next
            tar.next = lambda: (held.append(len(tar.members)), following())[1]
            return tar

        monkeypatch.setattr(tarfile, "open", watched)
        server.places["/a"] = Place(content.getvalue())
        obtain([archive(server.url("/a"), name="corpus.tgz")], tmp_path, pause=0.0)
        assert len(list((tmp_path / "corpus").iterdir())) == 50
        assert max(held) <= 1

    def test_links_are_passed_by(self, server, tmp_path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
            link = tarfile.TarInfo("corpus/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            packed.addfile(link)
            member = tarfile.TarInfo("corpus/a.wav")
            member.size = 3
            packed.addfile(member, io.BytesIO(b"abc"))
        server.places["/a"] = Place(buffer.getvalue())
        obtain([archive(server.url("/a"))], tmp_path, timeout=5.0, pause=0.0)
        assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["a.wav"]


def split(data, sizes):
    """Cut a zip as `zip -s` does: offsets count from the beginning of the part that they lie in."""
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    part_of = lambda at: max(number for number, start in enumerate(starts) if start <= at)  # noqa: E731
    data = bytearray(data)
    end = data.rindex(b"PK\5\6")
    directory = int.from_bytes(data[end + 16 : end + 20], "little")
    at = directory
    while data[at : at + 4] == b"PK\1\2":
        offset = int.from_bytes(data[at + 42 : at + 46], "little")
        part = part_of(offset)
        data[at + 34 : at + 36] = part.to_bytes(2, "little")
        data[at + 42 : at + 46] = (offset - starts[part]).to_bytes(4, "little")
        at += 46 + sum(
            int.from_bytes(data[at + place : at + place + 2], "little") for place in (28, 30, 32)
        )
    part = part_of(directory)
    data[end + 4 : end + 6] = (len(sizes) - 1).to_bytes(2, "little")
    data[end + 6 : end + 8] = part.to_bytes(2, "little")
    data[end + 16 : end + 20] = (directory - starts[part]).to_bytes(4, "little")
    edges = [*starts, len(data)]
    return [bytes(data[a:b]) for a, b in pairwise(edges)]


class TestSplitZip:
    NAMES = ("corpus.z01", "corpus.z02", "corpus.zip")

    def archives(self, server, pieces):
        for name, data in zip(self.NAMES, pieces, strict=True):
            server.places[f"/{name}"] = Place(data)
        return [
            archive(
                server.url(f"/{name}"),
                name=name,
                checksum=md5(data),
                joined=self.NAMES[:2] if name.endswith(".zip") else (),
            )
            for name, data in zip(self.NAMES, pieces, strict=True)
        ]

    @pytest.mark.parametrize("first", [1000, 5000, 5100, 8000])
    def test_its_parts_are_joined(self, server, tmp_path, first):
        given = self.archives(server, split(zipped(FILES), [first, 900, 0]))
        for _ in range(2):
            obtain(given, tmp_path, timeout=5.0, pause=0.0)
            assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
        assert all(len(server.places[f"/{name}"].asked) == 1 for name in self.NAMES)
        assert [path.name for path in (tmp_path / FOLDER).iterdir()] == [RECORD]

    def test_a_damaged_one_is_named(self, server, tmp_path):
        pieces = split(zipped(FILES).replace(DATA[100:200], DATA[200:300]), [1000, 900, 0])
        with pytest.raises(RasedError, match="is damaged"):
            obtain(self.archives(server, pieces), tmp_path, timeout=5.0, pause=0.0)

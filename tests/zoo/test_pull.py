import contextlib
import functools
import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

import rased
from rased.errors import RasedError
from rased.shelves import cache
from rased.zoo.card import CARD, WEIGHTS
from rased.zoo.pull import SOURCE, pull
from tests.serving import running


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch, put):
    """A loopback server over a folder with one entry; gives the folder and its URL."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    folder.mkdir()
    put(folder / "far")
    with served(folder) as url:
        yield folder / "far", url


def test_a_card_url_is_loaded_and_kept(site):
    source, url = site
    assert rased.load(url).card["name"] == "far"
    shutil.rmtree(source)
    assert rased.load(url).card["name"] == "far"
    assert rased.load("far").card["name"] == "far"


def test_the_pin_of_a_card_is_checked(site, tmp_path):
    source, url = site
    digest = hashlib.sha256((source / CARD).read_bytes()).hexdigest()
    assert pull(f"{url}#sha256={digest}", folder=tmp_path / "a").name == "far"
    with pytest.raises(RasedError, match="does not have the requested SHA-256"):
        pull(f"{url}#sha256={'0' * 64}", folder=tmp_path / "b")


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_bad_download_is_refused_and_not_kept(site, damage):
    source, url = site
    content = bytearray((source / WEIGHTS).read_bytes())
    content[50] ^= 1
    if damage == "missing":
        (source / WEIGHTS).unlink()
    else:
        (source / WEIGHTS).write_bytes(content if damage == "flipped" else content[:50])
    said = "cannot be fetched: .*not found" if damage == "missing" else "does not have the SHA-256"
    with pytest.raises(RasedError, match=said):
        pull(url)
    assert list(cache().iterdir()) == []


def test_a_name_that_came_from_elsewhere_is_not_replaced(site, put):
    _, url = site
    cache().mkdir(parents=True)
    put(cache() / "far")
    before = (cache() / "far" / CARD).read_bytes()
    with pytest.raises(RasedError, match="came from elsewhere"):
        pull(url)
    assert (cache() / "far" / CARD).read_bytes() == before


def test_a_card_may_not_write_elsewhere(site):
    source, url = site
    card = yaml.safe_load((source / CARD).read_text())
    card["files"]["../../escaped"] = "0" * 64
    (source / CARD).write_text(yaml.safe_dump(card))
    with pytest.raises(RasedError, match="it must be a name of at most"):
        pull(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/card.yaml", "is not an http or https URL"),
        ("http://127.0.0.1:1/card.yaml", "cannot be fetched"),
        ("http:///card.yaml", "is not a valid address"),
    ],
)
def test_a_bad_url_is_one_sentence(url, said):
    with pytest.raises(RasedError, match=said):
        pull(url)


class Cutting(Quiet):
    """Breaks the connection after half of the card."""

    def do_GET(self):
        if not self.path.endswith(CARD):
            super().do_GET()
            return
        content = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: content.index(b"scores:") + 10])


@contextlib.contextmanager
def served(folder, handler=Quiet):
    handler = functools.partial(handler, directory=folder)
    with running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/far/{CARD}"


def test_a_card_cut_by_the_connection_is_refused(site):
    with served(site[0].parent, Cutting) as url, pytest.raises(RasedError, match="is incomplete"):
        pull(url)
    assert not cache().exists()


@pytest.mark.parametrize("count", [2, 6])
def test_pulls_at_once_all_get_the_one_whole_entry(site, count):
    _, url = site
    found, failed = [], []

    def one():
        try:
            found.append(rased.load(url).card["name"])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert found == ["far"] * count
    assert [path.name for path in cache().iterdir()] == ["far"]


KILLED = """
import os, signal, sys
from pathlib import Path
from rased.zoo import pull
done = 0
def stop(name, count):
    global done
    done += 1
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
pull.pull(sys.argv[1], progress=stop)
"""


@pytest.mark.parametrize("moment", [1, 2])
def test_after_a_kill_the_next_pull_begins_anew(site, moment):
    _, url = site
    done = subprocess.run([sys.executable, "-c", KILLED, url, str(moment)], check=False)
    assert done.returncode == -9
    (left,) = cache().iterdir()
    assert left.name.startswith(".far.")
    assert "far" not in rased.list_checkpoints()
    assert rased.load(url).card["name"] == "far"
    assert [path.name for path in cache().iterdir()] == ["far"]


def test_unfinished_entries_are_not_listed(shelf, put, site):
    put(shelf / ".half.1234.part")
    put(shelf / "whole")
    assert "whole" in rased.list_checkpoints()
    assert not [name for name in rased.list_checkpoints() if "half" in name]


def test_an_entry_cannot_stand_for_another_address(site):
    """A card that names source.txt would say where it came from by itself."""
    source, url = site
    card = yaml.safe_load((source / CARD).read_text())
    (source / SOURCE).write_text("https://trusted.example/card.yaml")
    card["files"][SOURCE] = hashlib.sha256((source / SOURCE).read_bytes()).hexdigest()
    (source / CARD).write_text(yaml.safe_dump(card))
    with pytest.raises(RasedError, match=r"'source\.txt' is reserved"):
        pull(url)


def test_a_pin_holds_for_what_is_there_already(site):
    source, url = site
    digest = hashlib.sha256((source / CARD).read_bytes()).hexdigest()
    pull(url)
    assert pull(f"{url}#sha256={digest}").name == "far"
    for pin in (f"sha256={'0' * 64}", "sha256=12"):
        with pytest.raises(RasedError, match=r"requested SHA-256|64 hexadecimal digits"):
            pull(f"{url}#{pin}")


def test_the_address_is_kept_without_its_password(site):
    _, url = site
    folder = pull(url.replace("//", "//me:secret@"))
    assert "secret" not in (folder / SOURCE).read_text()
    assert pull(url) == folder


def test_an_address_of_a_file_here(site):
    source, _ = site
    assert rased.load(f"file://{source / CARD}").card["name"] == "far"
    assert rased.load(f"file://{source}").card["name"] == "far"
    for url in ("file://host/x", "hf://x", "file:///nowhere/card.yaml", "file:///a%00b"):
        with pytest.raises(RasedError):
            rased.load(url)

import functools
import hashlib
import http.server
import shutil
import threading

import pytest
import yaml

import rased
from rased.errors import RasedError
from rased.zoo.card import CARD, WEIGHTS
from rased.zoo.pull import pull
from rased.zoo.registry import cache


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
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder / "far", f"http://127.0.0.1:{server.server_port}/far/{CARD}"
        server.shutdown()
        thread.join()


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
    with pytest.raises(RasedError, match="does not have the SHA-256 that was asked for"):
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
        ("http:///card.yaml", "is not an address that can be fetched"),
    ],
)
def test_a_bad_url_is_one_sentence(url, said):
    with pytest.raises(RasedError, match=said):
        pull(url)

"""The site of the documentation: it builds without a warning, and needs nothing from the network."""

import html.parser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rased.cli import VERBS
from rased.data.corpora import CORPORA
from rased.metrics import METRICS

ROOT = Path(__file__).parent.parent
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements that a browser loads, and the attribute with the address."""

pytestmark = pytest.mark.slow


class Loaded(html.parser.HTMLParser):
    """Collects the addresses of everything that a browser loads for a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        names_a_page = given.get("rel") in ("canonical", "next", "prev", "alternate")
        if tag in FETCHED and not names_a_page and given.get(FETCHED[tag]):
            self.found.append(given[FETCHED[tag]])


BUILD = (sys.executable, "-m", "mkdocs", "build")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; strict: MkDocs fails if a link or an anchor leads nowhere."""
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [*BUILD, "--site-dir", str(place)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("link", ["gone.md", "other.md#gone", "#gone", "/gone", "gone.png"])
def test_a_link_that_leads_nowhere_is_an_error(link, tmp_path):
    """With the words of the Makefile and the settings of mkdocs.yml: `--quiet`, for one, would hide all warnings."""
    assert "mkdocs build\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    strictness = re.search(r"^strict:.*$", settings, re.M)[0]
    validation = re.search(r"^validation:\n(?:  .*\n)+", settings, re.M)[0]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Page\n\n[text]({link})\n")
    (tmp_path / "docs/other.md").write_text("# Other\n")
    (tmp_path / "mkdocs.yml").write_text(f"site_name: test\n{strictness}\n{validation}")
    done = subprocess.run(BUILD, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "strict" in done.stdout + done.stderr


def test_nothing_comes_from_the_network(site):
    loaded = {}
    for page in site.rglob("*.html"):
        reader = Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        loaded[page.name] = [address for address in reader.found if "//" in address]
    assert len(loaded) > 20
    assert {name: found for name, found in loaded.items() if found} == {}
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles
    assert [re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", style) for style in styles] == [[]] * len(
        styles
    )


def test_what_a_page_loads_is_in_the_site(site):
    missing = set()
    for page in site.rglob("*.html"):
        reader = Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        base = site if page.name == "404.html" else page.parent
        for address in reader.found:
            path = address.partition("?")[0].partition("#")[0].lstrip("/")
            if not address.startswith("data:") and not (base / path).is_file():
                missing.add(f"{page.name}: {address}")
    assert missing == set()


def test_the_generated_pages_hold_everything(site):
    pages = {page.stem: page.read_text(encoding="utf-8") for page in site.glob("reference/*.html")}
    assert [verb for verb in VERBS if f'id="rased-{verb}"' not in pages["cli"]] == []
    assert 'id="rased-data-pack"' in pages["cli"]
    assert [name for name in METRICS if f"<code>{name}</code>" not in pages["metrics"]] == []
    assert [name for name in CORPORA if f'id="{name}"' not in pages["corpora"]] == []
    for name in (
        "rased.load",
        "rased.enhance",
        "rased.models.base.Enhancer",
        "rased.losses.base.Loss",
    ):
        assert f'id="{name}"' in pages["python"]


def test_the_leaderboard_has_its_page(site):
    page = (site / "leaderboard.html").read_text(encoding="utf-8")
    assert 'href="board/index.html"' in page
    assert (site / "board" / "index.html").is_file()


@pytest.mark.browser
def test_the_search_works_from_files(site):
    """Browsers start no worker from file://, so the site brings its own."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "reference" / "python.html").as_uri())
        page.keyboard.press("/")
        page.keyboard.type("dereverberation")
        page.locator(".md-search-result__item").first.wait_for(state="attached", timeout=60_000)
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []

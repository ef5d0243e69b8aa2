"""The page: what is written, and what a browser makes of it."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rased.errors import RasedError
from rased.evaluation import collect, write_page
from rased.metrics import Score

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module")
def page(scored, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return write_page(collect([scored]), folder, audio_folder=scored / "audio", examples=2)


def test_everything_it_names_is_there_and_nothing_is_elsewhere(page):
    text = page.read_text()
    named = re.findall(r'(?:src|href|data-sound)="([^"#]+)"', text)
    assert len(named) > 10
    for reference in named:
        assert reference == "data:," or (page.parent / reference).is_file(), reference
    for name in ("index.html", "page.css", "page.js"):
        assert "http" not in (page.parent / name).read_text()


def test_pictures_show_low_frequencies_at_the_bottom(page):
    picture = Image.open(sorted((page.parent / "pictures" / "tiny" / "target").glob("*.png"))[0])
    grey = picture.convert("L")
    assert grey.size == (1 + -(-(19_200 + 384 - 128) // 128), 257)
    level = np.asarray(grey, dtype=float)
    assert level[-60:].mean() > level[:60].mean() + 20


def test_examples_go_from_hard_to_easy(page, scored):
    (noisy,) = (row for row in collect([scored]) if row.name == "noisy")
    values = noisy.values("stoi")
    ids = re.findall(r'aria-label="Utterance (\w+)"', page.read_text())
    ranked = sorted(values, key=values.get)
    assert ids == [ranked[1], ranked[4]]


def test_names_are_escaped(scored, tmp_path):
    rows = collect([scored])
    odd = copy.deepcopy(rows[0])
    odd.system["name"] = "<script>alert(1)</script>"
    odd.utterances[0].scores["stoi"] = Score(None, "undefined: <b>")
    text = write_page([*rows, odd], tmp_path).read_text()
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;alert" in text


def test_without_audio_there_are_no_examples(scored, tmp_path):
    assert 'class="example"' not in write_page(collect([scored]), tmp_path).read_text()


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(RasedError, match="a page needs results"):
        write_page([], tmp_path)


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, page):
    """The page in a window; any message on the console fails the test."""
    messages = []
    window = browser.new_page(viewport={"width": 1200, "height": 900})
    window.on("console", lambda message: messages.append(message.text))
    window.on("pageerror", lambda error: messages.append(str(error)))
    window.on("requestfailed", lambda request: messages.append(request.url))
    window.goto(page.as_uri())
    yield window
    window.close()
    assert messages == []


def first_column(window):
    return window.eval_on_selector_all(
        "table.scores tbody th", "all => all.map(e => e.dataset.value)"
    )


@pytest.mark.browser
def test_headings_sort_both_ways_with_mouse_and_keyboard(opened):
    heading = opened.locator("table.scores thead th").nth(0)
    heading.locator("button").click()
    assert first_column(opened) == ["log-mmse", "noisy", "target"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").focus()
    opened.keyboard.press("Enter")
    assert first_column(opened) == ["target", "noisy", "log-mmse"]
    number = opened.locator("table.scores thead th").nth(2)
    number.locator("button").click()
    values = opened.eval_on_selector_all(
        "table.scores tbody tr", "all => all.map(row => Number(row.cells[2].dataset.value))"
    )
    assert values == sorted(values, reverse=True)
    assert heading.get_attribute("aria-sort") is None


@pytest.mark.browser
def test_another_version_goes_on_from_the_same_place(opened):
    example = opened.locator(".example").first
    example.locator(".seek").fill("0.2")
    example.locator(".track").nth(1).click()
    opened.wait_for_function("document.querySelector('.example.playing .seek').value > 0.25")
    assert example.locator(".track").nth(1).get_attribute("aria-pressed") == "true"
    before = float(example.locator(".seek").input_value())
    opened.keyboard.press("3")
    assert example.locator(".track").nth(2).get_attribute("aria-pressed") == "true"
    after = float(example.locator(".seek").input_value())
    assert 0 <= after - before < 0.8
    # The end of the clip stops the player and goes back to the start.
    opened.wait_for_function("document.querySelector('.example.playing') === null")
    assert float(example.locator(".seek").input_value()) == 0.0


@pytest.mark.browser
def test_everything_is_reached_with_the_keyboard(opened):
    reachable = opened.locator("button, input, summary, .scroll").count()
    seen = set()
    for _ in range(reachable):
        opened.keyboard.press("Tab")
        seen.add(
            opened.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
    assert len(seen) == reachable


@pytest.mark.browser
def test_theme_switches_and_follows_the_system(opened, browser, page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(ground)
    opened.locator("#theme").click()
    dark = opened.evaluate(ground)
    assert light != dark
    context = browser.new_context(color_scheme="dark")
    window = context.new_page()
    window.goto(page.as_uri())
    assert window.evaluate(ground) == dark
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 768, 1600])
def test_no_width_scrolls_sideways(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width

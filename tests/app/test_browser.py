"""The page in a browser, with real speech; any message on the console or request to elsewhere fails a test."""

import re
from importlib.util import find_spec

import pytest
import soundfile

from rased import audio
from tests.app.conftest import EXAMPLE
from tests.browsing import TIMEOUT, launched, listening

pytestmark = pytest.mark.browser
MODEL, METHOD = "gtcrn-tuned-16k", "log-mmse"
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def browser():
    with launched(*MICROPHONE) as chromium:
        yield chromium


@pytest.fixture
def messages():
    return []


@pytest.fixture
def opened(browser, server, messages):
    """The page in a window."""
    window = browser.new_page(viewport={"width": 1300, "height": 900})
    with listening(window, server.url, messages):
        window.goto(server.url)
        counts(window, "#choices input", 2)
        yield window
        window.close()
    assert messages == []


def counts(window, selector, number):
    from playwright.sync_api import expect

    expect(window.locator(selector)).to_have_count(number, timeout=TIMEOUT)


def ready(window, *labels):
    """Wait until these are the versions, all with a sound."""
    from playwright.sync_api import expect

    expect(window.locator(".who")).to_have_text(list(labels), timeout=TIMEOUT)
    counts(window, ".track:not(:disabled)", len(labels))
    counts(window, ".busy", 0)


def uploaded(window, noisy):
    window.set_input_files("#file", noisy)
    ready(window, "noisy", MODEL, METHOD)


SWITCHED = """async (number) => {
  const before = player.sound;
  before.loop = true; // however late this machine is
  await player.start();
  await new Promise((resolve) => before.addEventListener("timeupdate", resolve, { once: true }));
  player.choose(number);
  const played = before.paused && before.played.length;
  const found = [before.currentTime, player.sound.currentTime, played, player.sound !== before];
  before.loop = false;
  player.stop(0.7);
  return found;
}"""
"""Play, switch as soon as there is progress, and return both positions at that moment."""


def test_a_file_is_enhanced_by_the_chosen_models_and_switching_keeps_the_position(opened, noisy):
    uploaded(opened, noisy)
    assert opened.locator(".title").text_content() == "noisy.wav"
    pictures = opened.locator(".tracks img").evaluate_all(
        "images => Promise.all(images.map(async (one) => { await one.decode(); return one.naturalWidth; }))"
    )
    assert len(set(pictures)) == 1
    assert pictures[0] > 100
    for number in (1, 2, 0, 2, 1, 0):
        opened.evaluate("player.move(0.4)")
        before, after, played, other = opened.evaluate(SWITCHED, number)
        assert after == pytest.approx(before, abs=1e-3)
        assert played
        assert other
    # Without playing, too; and by keys.
    opened.evaluate("player.move(1.25)")
    for key, name in (("2", MODEL), ("3", METHOD), ("1", "noisy")):
        opened.keyboard.press(key)
        assert opened.locator(".now").text_content() == name
        assert opened.locator(".track[aria-pressed=true] .who").text_content() == name
        assert float(opened.locator(".seek").input_value()) == 1.25
    assert opened.locator(".axis").inner_text().split() == ["8", "kHz", "4", "0"]


def test_the_strength_changes_what_is_heard_and_keeps_the_position(opened, noisy):
    uploaded(opened, noisy)
    opened.keyboard.press("2")
    opened.evaluate("player.move(0.9)")
    slider = opened.locator("#strength")
    slider.focus()
    opened.keyboard.press("Home")
    assert opened.locator("#limit").text_content() == "0 dB at most"
    # The sound of each step between is not waited for: a later one takes its place.
    for _ in range(12):
        opened.keyboard.press("ArrowRight")
    assert opened.locator("#limit").text_content() == "12 dB at most"
    counts(opened, "a.download[href$='-12.wav']", 2)
    ready(opened, "noisy", MODEL, METHOD)
    assert "-12.wav" in opened.evaluate("player.sound.src")
    assert opened.locator(".now").text_content() == MODEL
    assert float(opened.locator(".seek").input_value()) == 0.9
    opened.keyboard.press("End")
    assert opened.locator("#limit").text_content() == "no limit"
    counts(opened, "a.download[href$='-all.wav']", 2)
    ready(opened, "noisy", MODEL, METHOD)


@pytest.mark.slow
def test_a_model_that_is_no_longer_chosen_gives_way_to_the_noisy_recording(opened, noisy):
    uploaded(opened, noisy)
    opened.keyboard.press("3")
    opened.evaluate("player.move(0.8)")
    box = opened.locator(f"#choices input[value={METHOD}]")
    box.uncheck()
    ready(opened, "noisy", MODEL)
    assert opened.locator(".now").text_content() == "noisy"
    assert float(opened.locator(".seek").input_value()) == 0.8
    box.check()
    ready(opened, "noisy", MODEL, METHOD)
    assert opened.locator(".key").all_text_contents() == ["1", "2", "3"]


@pytest.mark.slow
def test_an_example_shows_scores_before_and_after(opened):
    pytest.importorskip("speechmos")
    opened.select_option("#example", EXAMPLE)
    ready(opened, "noisy", "target", MODEL, METHOD)
    counts(opened, ".mos > span", 12)
    scores = opened.locator(".mos").all_inner_texts()
    assert all(re.search(r"OVRL .*SIG .*BAK ", text, re.S) for text in scores)
    # Only the noisy recording has no change.
    assert [("+" in text or "−" in text) for text in scores] == [False, True, True, True]


@pytest.mark.slow
def test_a_download_is_the_file_that_is_heard(opened, noisy, tmp_path):
    uploaded(opened, noisy)
    with opened.expect_download() as waiting:
        opened.locator("a.download").nth(1).click()
    assert waiting.value.suggested_filename == f"noisy.{MODEL}.wav"
    waiting.value.save_as(tmp_path / "got.wav")
    assert audio.inspect(tmp_path / "got.wav").frames == audio.inspect(noisy).frames
    heard = opened.request.get(opened.evaluate("player.sounds[1].src"))
    assert heard.body() == (tmp_path / "got.wav").read_bytes()


@pytest.mark.slow
def test_a_file_may_be_dropped(opened, noisy):
    given = opened.evaluate_handle(
        """(bytes) => {
          const given = new DataTransfer();
          given.items.add(new File([new Uint8Array(bytes)], "dropped.wav"));
          return given;
        }""",
        list(noisy.read_bytes()),
    )
    opened.dispatch_event("#drop", "drop", {"dataTransfer": given})
    ready(opened, "noisy", MODEL, METHOD)
    assert opened.locator(".title").text_content() == "dropped.wav"


@pytest.mark.slow
def test_the_microphone_is_recorded(opened):
    button = opened.locator("#record")
    button.click()
    counts(opened, "#record[aria-pressed=true]", 1)
    while (
        opened.evaluate("microphone.seconds") < 1
    ):  # the device of the browser beeps once a second
        opened.wait_for_timeout(50)
    button.click()
    ready(opened, "noisy", MODEL, METHOD)
    assert opened.locator(".title").text_content() == "recording.wav"
    length, loudest = opened.evaluate(
        """async () => {
          const content = await (await fetch(player.sound.src)).arrayBuffer();
          const found = await new AudioContext().decodeAudioData(content);
          return [found.duration, found.getChannelData(0).reduce((most, one) => Math.max(most, one), 0)];
        }"""
    )
    assert length >= 1
    assert loudest > 0.01


@pytest.mark.slow
def test_what_is_no_audio_is_said_and_the_page_goes_on(opened, noisy, messages, tmp_path):
    uploaded(opened, noisy)
    (tmp_path / "letter.wav").write_text("Dear reader")
    opened.set_input_files("#file", tmp_path / "letter.wav")
    alert = opened.locator("#alert")
    alert.wait_for()
    assert "'letter.wav'" in alert.text_content()
    # The browser itself notes the refusal.
    assert messages.pop().endswith("status of 400 (Bad Request)")
    assert opened.locator(".title").text_content() == "noisy.wav"
    soundfile.write(tmp_path / "good.flac", soundfile.read(noisy)[0], 16_000)
    opened.set_input_files("#file", tmp_path / "good.flac")
    ready(opened, "noisy", MODEL, METHOD)
    assert not alert.is_visible()


@pytest.mark.slow
def test_of_two_recordings_that_are_opened_at_once_the_last_choice_counts(opened, noisy):
    uploaded(opened, noisy)
    names = opened.evaluate(
        """async ([first, second]) => {
          let late;
          const waiting = open("first", () => new Promise((resolve) => { late = resolve; }));
          await open("second", () => ask("examples", { name: second }));
          late(await ask("examples", { name: first }));
          await waiting;
          return [opened.title, document.querySelector(".title").textContent];
        }""",
        ["m0000", EXAMPLE],
    )
    assert names == [EXAMPLE, EXAMPLE]
    ready(opened, "noisy", "target", MODEL, METHOD)


@pytest.mark.slow
def test_a_server_that_has_ended_is_named(opened, noisy, messages):
    opened.route("**/recordings*", lambda route: route.abort())
    opened.set_input_files("#file", noisy)
    alert = opened.locator("#alert")
    alert.wait_for()
    assert alert.text_content().startswith("The server does not answer: start `rased app` again")
    assert "ERR_FAILED" in messages.pop()  # noted by the browser itself


OUTSIDE = """() => [...document.querySelectorAll(".panel, .example")].flatMap((panel) => {
  const edge = panel.getBoundingClientRect();
  return [...panel.querySelectorAll("*")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width && (box.right > edge.right + 0.5 || box.left < edge.left - 0.5);
  }).map((one) => one.outerHTML.slice(0, 80));
})"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1300])
def test_it_fits_windows_of_any_width_and_both_themes(browser, server, messages, width):
    grounds = set()
    for scheme in ("light", "dark"):
        window = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        with listening(window, server.url, messages):
            window.goto(server.url)
            counts(window, "#choices input", 2)
            window.select_option("#example", EXAMPLE)
            ready(window, "noisy", "target", MODEL, METHOD)
            if find_spec("speechmos"):
                counts(window, ".mos > span", 12)
            assert window.evaluate("document.documentElement.scrollWidth") == width
            assert window.evaluate(OUTSIDE) == []
            # Nothing is cut off within a version.
            cut = "tracks => tracks.filter((one) => one.scrollWidth > one.clientWidth).length"
            assert window.locator(".track").evaluate_all(cut) == 0
            grounds.add(window.evaluate("getComputedStyle(document.body).backgroundColor"))
            window.locator("#theme").click()
            grounds.add(window.evaluate("getComputedStyle(document.body).backgroundColor"))
        window.close()
    assert len(grounds) == 2
    assert messages == []

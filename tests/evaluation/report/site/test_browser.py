"""The page in a browser, from disk, without a network; any message on the console fails a test."""

import numpy as np
import pytest

from rased.evaluation.comparison.board import boards
from rased.evaluation.comparison.conditions import by_condition, worst
from tests.browsing import launched, listening

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def window(browser):
    """One window for all: its renderer keeps the compiled scripts of a page that it opened before."""
    return browser.new_page()


@pytest.fixture
def opened(window, page):
    """The page in the window, with nothing left of the test before."""
    messages = []
    window.set_viewport_size({"width": 1200, "height": 900})
    window.emulate_media(color_scheme="light")

    def failed(request):
        messages.append(request.url)

    window.on("requestfailed", failed)
    with listening(window, "file:", messages):
        window.goto(page.as_uri())
        yield window
    window.remove_listener("requestfailed", failed)
    window.evaluate("localStorage.clear()")
    window.goto("about:blank")
    assert messages == []


def board(window, number=0):
    return window.locator(".board").nth(number)


def shown(window, rows="tr.system, tr.reference"):
    """Names of the rows of the first table, in their order."""
    return (
        board(window)
        .locator(rows)
        .evaluate_all(
            "rows => rows.filter(row => row.checkVisibility()).map(row => row.dataset.name)"
        )
    )


def drawn(window, figure, number=0):
    """A figure of a board, once it is drawn."""
    found = board(window, number).locator(f"[data-figure={figure}]")
    found.scroll_into_view_if_needed()
    window.wait_for_function("figure => figure.dataset.drawn", arg=found.element_handle())
    return found


def traces(figure):
    """What Plotly was given, by name of the trace."""
    return figure.locator(".plot").evaluate(
        "plot => Object.fromEntries(plot.data.map((trace, n) =>"
        " [trace.name ?? n, JSON.parse(JSON.stringify(trace))]))"
    )


def test_headings_sort_both_ways_with_mouse_and_keyboard(opened):
    heading = board(opened).locator("thead th").nth(0)
    heading.locator("button").click()
    names = sorted(["heavy", "late", "log-mmse", "noisy", "target"])
    assert shown(opened) == names
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").focus()
    opened.keyboard.press("Enter")
    assert shown(opened) == names[::-1]
    board(opened).locator("thead th").nth(2).locator("button").click()
    values = (
        board(opened)
        .locator("table.scores tbody tr")
        .evaluate_all("rows => rows.map(row => Number(row.cells[2].dataset.value))")
    )
    assert values == sorted(values, reverse=True)
    assert heading.get_attribute("aria-sort") is None


@pytest.mark.parametrize(
    ("field", "value", "left"),
    [
        ("name", "HEA", {"heavy"}),
        ("kind", "zoo", {"late"}),
        ("causal", "yes", {"heavy", "log-mmse"}),
        ("parameters", "100000.0", {"late", "log-mmse"}),
    ],
)
def test_filters_hide_systems_and_say_how_many_are_left(opened, field, value, left):
    control = board(opened).locator(f"form.filter [name={field}]")
    if field == "name":
        control.fill(value)
    else:
        control.select_option(value)
    assert set(shown(opened, "tr.system")) == left
    assert set(shown(opened, "tr.reference")) == {"noisy", "target"}
    output = board(opened).locator("form.filter .count")
    assert output.text_content() == f"{len(left)} of 3 systems"


def test_published_rows_show_when_asked_and_join_the_scatter_but_not_the_front(opened):
    second = board(opened, 1)
    rows = second.locator("tr.other")
    assert not rows.first.is_visible()
    figure = drawn(opened, "scatter", 1)
    before = traces(figure)
    second.locator("[name=published]").check()
    assert rows.first.is_visible()
    assert second.locator("details.sources").is_visible()
    opened.wait_for_function(
        "plot => plot.data.some(trace => trace.name === 'published' && trace.x.length)",
        arg=figure.locator(".plot").element_handle(),
    )
    after = traces(figure)
    assert after["front"] == before["front"]
    assert "other protocols" in figure.locator(".legend").text_content()
    # Rows sort among themselves, below ours.
    second.locator("thead th").nth(2).locator("button").click()
    names = second.locator("table.scores tbody tr").evaluate_all(
        "rows => rows.map(row => row.className)"
    )
    assert set(names[:3]) == {"reference", "system"}
    assert (names[3], set(names[4:])) == ("rule", {"other"})


def test_the_front_is_what_no_other_beats(opened):
    front = opened.evaluate(
        """paretoFront([{cost: 3, mean: 2}, {cost: 1, mean: 1}, {cost: 2, mean: 1}, {cost: 2, mean: 1.5},
                        {cost: 4, mean: 1.9}, {cost: 9, mean: 3}], true).map(p => [p.cost, p.mean])"""
    )
    assert front == [[1, 1], [2, 1.5], [3, 2], [9, 3]]
    lower = opened.evaluate(
        "paretoFront([{cost: 1, mean: 5}, {cost: 2, mean: 4}, {cost: 3, mean: 6}], false).length"
    )
    assert lower == 2


def test_scatter_follows_cost_metric_and_filter(opened, tiny):
    figure = drawn(opened, "scatter")
    (ours,) = boards(tiny)
    row = next(row for row in ours.rows if row.name == "log-mmse")
    found = traces(figure)
    assert found["front"]["x"] == [row.result.system["macs_per_second"]]
    assert found["front"]["y"] == [row.cells["stoi"].interval.mean]
    assert found["systems"]["customdata"] == ["log-mmse", "heavy"]
    assert found["apart"]["customdata"] == ["late"]
    # Without weights there is nothing to show on a logarithmic axis, and the page says so.
    figure.locator("[name=cost]").select_option("parameters")
    figure.locator("[name=metric]").select_option("si-sdr")
    plot = figure.locator(".plot").element_handle()
    opened.wait_for_function("plot => plot.layout.xaxis.title.text === 'Parameters'", arg=plot)
    found = traces(figure)
    assert found["systems"]["customdata"] == ["heavy", "late"]
    assert found["front"]["x"] == [50_000, 5_000_000]
    assert (
        "this cost is unknown or does not apply: log-mmse"
        in figure.locator(".legend").text_content()
    )
    board(opened).locator("form.filter [name=kind]").select_option("run")
    opened.wait_for_function(
        "plot => plot.data.find(trace => trace.name === 'systems').x.length === 1", arg=plot
    )


def test_distributions_hold_each_utterance(opened, tiny):
    figure = drawn(opened, "distribution")
    figure.locator("[name=metric]").select_option("si-sdr")
    plot = figure.locator(".plot").element_handle()
    opened.wait_for_function("plot => plot.layout.xaxis.title.text.includes('dB')", arg=plot)
    found = traces(figure)
    noisy = next(row for row in tiny if row.name == "noisy").values("si-sdr")
    assert dict(zip(found["noisy"]["text"], found["noisy"]["x"], strict=True)) == pytest.approx(
        noisy, abs=0.005
    )
    assert "target" not in found
    figure.locator("[name=shape]").select_option("violin")
    opened.wait_for_function("plot => plot.data[0].type === 'violin'", arg=plot)
    # No shape reaches beyond what was measured.
    assert {trace["spanmode"] for trace in traces(figure).values()} == {"hard"}


def test_the_heat_map_shows_the_means_of_the_tables(opened, tiny):
    figure = drawn(opened, "heatmap")
    (ours,) = boards(tiny)
    names = [row.name for row in ours.rows if row.name not in ("target", "late")]
    (found,) = traces(figure).values()
    groups = by_condition(ours, "stoi", "snr_db")
    means = [[group.means[name].mean for group in groups] for name in names]
    assert np.allclose(found["z"], means, atol=1e-4)
    assert "not comparable: late" in figure.locator(".legend").text_content()
    figure.locator("[name=show]").select_option("change")
    plot = figure.locator(".plot").element_handle()
    opened.wait_for_function("plot => plot.data[0].zmid === 0", arg=plot)
    (found,) = traces(figure).values()
    held = [group.means["noisy"].mean for group in groups]
    changes = [
        [mean - before for mean, before in zip(row, held, strict=True)]
        for row, name in zip(means, names, strict=True)
        if name != "noisy"
    ]
    assert np.allclose(found["z"], changes, atol=2e-4)


def test_another_version_goes_on_from_the_same_place(opened):
    example = opened.locator(".example").first
    example.locator(".seek").fill("0.2")
    example.locator(".track").nth(1).click()
    opened.wait_for_function("document.querySelector('.example.playing .seek').value > 0.25")
    assert example.locator(".track").nth(1).get_attribute("aria-pressed") == "true"
    before = float(example.locator(".seek").input_value())
    opened.keyboard.press("3")
    assert example.locator(".track").nth(2).get_attribute("aria-pressed") == "true"
    assert example.locator(".now").text_content() == "target"
    assert "target" in example.locator(".stage img").get_attribute("src")
    after = float(example.locator(".seek").input_value())
    assert 0 <= after - before < 0.8
    # The end of the clip stops the player and goes back to the start.
    opened.wait_for_function("document.querySelector('.example.playing') === null")
    assert float(example.locator(".seek").input_value()) == 0.0


def test_keys_seek_and_go_through_utterances(opened):
    examples = opened.locator(".board").first.locator(".example")
    opened.keyboard.press("2")
    opened.keyboard.press("ArrowRight")
    assert float(examples.nth(0).locator(".seek").input_value()) == 0.5
    opened.keyboard.press("ArrowLeft")
    opened.keyboard.press("ArrowLeft")
    assert float(examples.nth(0).locator(".seek").input_value()) == 0.0
    opened.keyboard.press("j")
    assert not examples.nth(0).is_visible()
    assert examples.nth(1).is_visible()
    # The version stays chosen.
    assert examples.nth(1).locator(".track").nth(1).get_attribute("aria-pressed") == "true"
    assert opened.locator(".pick").first.evaluate("pick => pick.selectedIndex") == 1
    opened.keyboard.press("k")
    opened.keyboard.press("k")
    assert examples.nth(0).is_visible()
    opened.keyboard.press(" ")
    opened.wait_for_function("document.querySelector('.example.playing') !== null")
    opened.keyboard.press(" ")
    assert opened.locator(".example.playing").count() == 0
    # Letters and digits typed into a field are only text.
    board(opened).locator("[name=name]").press_sequentially("j3")
    assert examples.nth(0).is_visible()
    assert examples.nth(0).locator(".track").nth(1).get_attribute("aria-pressed") == "true"


def test_the_blind_test_hides_x_and_counts(opened):
    test = opened.locator(".abx").first
    test.locator("summary").click()
    test.locator("[name=b]").select_option(label="noisy")
    guesses = test.locator(".guess")
    assert guesses.nth(0).is_disabled()
    example = opened.locator(".example").first
    opened.evaluate("listens[0].blind.x = 'b'")
    test.locator(".hear").nth(2).click()
    assert example.locator(".track[aria-pressed=true]").count() == 0
    assert example.locator(".now").text_content() == "X"
    assert not example.locator(".stage img").is_visible()
    sounding = opened.evaluate("listens[0].player.sound.src")
    assert "/noisy/" in sounding
    opened.keyboard.press("a")
    assert example.locator(".now").text_content() == "A"
    guesses.nth(1).click()
    said = test.locator("output")
    assert said.text_content().startswith(
        "Right: X was B. 1 of 1 right; guessing is at least as good"
    )
    assert "0.50" in said.text_content()
    assert guesses.nth(0).is_disabled()
    assert example.locator(".stage img").is_visible()
    opened.evaluate("listens[0].blind.x = 'b'")
    test.locator(".hear").nth(2).click()
    guesses.nth(0).click()
    assert said.text_content().startswith("Wrong: X was B. 1 of 2 right")
    assert "0.75" in said.text_content()


def test_a_bad_utterance_is_a_press_away(opened, tiny):
    (ours,) = boards(tiny)
    first = next(bad for bad in worst(ours, "stoi", 3) if bad.system == "log-mmse")
    button = board(opened).locator(".open").first
    assert button.text_content() == first.utterance.id
    button.click()
    example = opened.locator(f".example[data-utterance={first.utterance.id}]").first
    assert example.is_visible()
    pressed = example.locator(".track[aria-pressed=true] .who")
    assert pressed.text_content() == "log-mmse"


def test_everything_is_reached_with_the_keyboard(opened):
    reachable = opened.locator(
        ":is(button:not(:disabled), input, select, summary, .scroll, a[href]):visible"
    ).count()
    seen = set()
    for _ in range(reachable):
        opened.keyboard.press("Tab")
        seen.add(
            opened.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
    assert len(seen) == reachable


def test_a_name_opens_what_the_row_rests_on_and_escape_closes_it(opened):
    name = board(opened).locator("tr[data-name=heavy] button.about")
    name.focus()
    opened.keyboard.press("Enter")
    dialog = opened.locator("dialog[open]")
    assert dialog.get_attribute("aria-labelledby") == dialog.locator("h3").get_attribute("id")
    assert dialog.locator("h3").text_content() == "heavy"
    # Digits are no shortcuts of the player behind it.
    opened.keyboard.press("3")
    assert opened.locator(".track[aria-pressed=true] .who").first.text_content() == "noisy"
    opened.keyboard.press("Escape")
    assert opened.locator("dialog[open]").count() == 0
    assert name.evaluate("name => name === document.activeElement")


def test_two_rows_are_compared_by_what_differs(opened):
    board(opened).locator("tr[data-name=heavy] button.about").click()
    opened.locator("dialog[open] .with").click()
    compare = board(opened).locator("details.compare")
    compare.locator("[name=b]").select_option(label="late")
    rows = compare.locator("tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert rows[0] == ["", "heavy", "late"]
    assert ["causal", "yes", "no"] in rows
    assert ["parameters", "5\u202f000\u202f000", "50\u202f000"] in rows
    names = [row[0] for row in rows]
    assert "STOI" in names
    assert "SI-SDR" not in names
    assert "sample rate" not in names
    compare.locator("[name=b]").select_option(label="heavy")
    assert compare.locator("output").text_content() == "There are no differences."


def test_columns_are_chosen_for_table_and_charts(opened):
    first = board(opened)
    parts = first.locator('[data-column="si-sdr"]')
    assert parts.count() > 5
    chooser = first.locator(".chooser")
    shown, _, known = chooser.locator("output").text_content().split()
    chooser.locator("summary").focus()
    opened.keyboard.press("Enter")
    chooser.locator("[value=si-sdr]").uncheck()
    assert parts.evaluate_all("parts => parts.every(part => !part.checkVisibility())")
    assert chooser.locator("output").text_content() == f"{int(shown) - 1} of {known}"
    opened.keyboard.press("Escape")
    assert not chooser.locator("fieldset").is_visible()
    assert chooser.locator("summary").evaluate("summary => summary === document.activeElement")
    assert board(opened, 1).locator('td[data-column="si-sdr"]').first.is_visible()


def test_a_table_that_does_not_fit_fades_and_one_that_fits_keeps_its_headings(opened):
    table = board(opened, 1).locator(".table")
    board(opened, 1).locator("[name=published]").check()
    opened.wait_for_function("t => t.classList.contains('whole')", arg=table.element_handle())
    table.locator("tr.other").last.scroll_into_view_if_needed()
    top = table.locator("thead th").first.evaluate("cell => cell.getBoundingClientRect().top")
    assert top == pytest.approx(0, abs=1)
    opened.set_viewport_size({"width": 360, "height": 800})
    opened.wait_for_function("t => t.classList.contains('more')", arg=table.element_handle())
    table.evaluate("table => table.scrollTo(9999, 0)")
    opened.wait_for_function("t => !t.classList.contains('more')", arg=table.element_handle())


def test_published_rows_without_a_score_that_is_shown_stay_away(opened):
    second = board(opened, 1)
    second.locator("[name=published]").check()
    before = second.locator("tr.other:visible").count()
    second.locator(".chooser summary").click()
    second.locator(".chooser [value=stoi]").uncheck()
    left = second.locator("tr.other:visible")
    assert 0 < left.count() < before
    assert left.evaluate_all(
        "rows => rows.every(row => row.querySelector('[data-column=si-sdr][data-value]'))"
    )


def test_axes_of_cost_have_ticks_to_read(opened):
    assert opened.evaluate("logTicks(0.004, 0.09, 12)") == [0.005, 0.01, 0.02, 0.05]
    assert opened.evaluate("logTicks(3, 2e8, 8)") == [10.0**n for n in range(1, 9)]
    assert opened.evaluate("logTicks(3, 2e8, 4)") == [10, 1000, 1e5, 1e7]
    assert opened.evaluate("[0.005, 0.0204, 48200, 1e9].map(brief)") == [
        "0.005",
        "0.0204",
        "48.2 K",
        "1 G",
    ]


def test_names_of_near_points_do_not_collide(opened):
    boxes = opened.evaluate(
        """(() => {
          const spots = Array.from({ length: 9 }, (_, n) =>
            ({ point: n, x: 200 + 11 * n, y: 150 - 4 * n, low: 190 - 4 * n, high: 110 - 4 * n, wide: 80 }));
          const front = [[200, 149, 288, 151]];
          const places = placeNames(spots, spots, front, { width: 400, height: 300 });
          const names = [...places].map(([n, { xanchor, xshift, yshift }]) => {
            const left = spots[n].x + xshift - (xanchor === "left" ? 0 : 80);
            return [left, spots[n].y - yshift - 7, left + 80, spots[n].y - yshift + 7];
          });
          const points = spots.map(({ x, y }) => [x - 5, y - 5, x + 5, y + 5]);
          return { names, others: [...points, ...front] };
        })()"""
    )
    names, others = boxes["names"], boxes["others"]
    assert len(names) >= 2

    def apart(a, b):
        return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]

    for number, name in enumerate(names):
        assert all(apart(name, other) for other in [*names[:number], *others])
        assert name[0] >= 0
        assert name[2] <= 400


def test_theme_switches_and_follows_the_system(opened, page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(ground)
    figure = drawn(opened, "scatter")
    ink = figure.locator(".plot").evaluate("plot => plot.layout.font.color")
    opened.locator("#theme").click()
    dark = opened.evaluate(ground)
    assert light != dark
    opened.wait_for_function(
        "([plot, ink]) => plot.layout.font.color !== ink",
        arg=[figure.locator(".plot").element_handle(), ink],
    )
    opened.evaluate("localStorage.clear()")
    opened.emulate_media(color_scheme="dark")
    opened.goto(page.as_uri())
    assert opened.evaluate(ground) == dark


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_no_width_scrolls_sideways(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    for figure in ("scatter", "distribution", "heatmap"):
        drawn(opened, figure)
    opened.locator(".abx summary").first.click()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width

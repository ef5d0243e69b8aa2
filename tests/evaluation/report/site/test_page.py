"""What is written into the folder of the page."""

import copy
import dataclasses
import json
import re
from urllib.parse import unquote

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from rased.errors import RasedError
from rased.evaluation import collect, write_page
from rased.evaluation.comparison.board import boards
from rased.evaluation.comparison.conditions import by_condition, worst
from rased.evaluation.comparison.marks import Mark
from rased.evaluation.report.site.about import sections
from rased.evaluation.report.site.chips import chips, notes
from rased.evaluation.report.site.columns import at_first, padded
from rased.evaluation.report.site.costs import axes, columns, shown
from rased.evaluation.report.site.figures import figure_data
from rased.evaluation.report.site.page import ASSETS, _protocol
from rased.evaluation.result import load
from rased.metrics import Score


def test_everything_it_names_is_there_and_nothing_is_elsewhere(page):
    text = page.read_text()
    named = re.findall(r'(?:src|href|data-sound)="([^"#]+)"', text)
    scripts = re.findall(r'load\("([^"]+)"\)', (page.parent / "figures.js").read_text())
    assert scripts == ["plotly.min.js", "data.js"]
    assert len(named) > 10
    for reference in [*named, *scripts]:
        assert reference == "data:," or (page.parent / unquote(reference)).is_file(), reference
    for file in page.parent.glob("*.*"):
        if file.name != "plotly.min.js":
            assert "http" not in file.read_text(), file


def test_pictures_show_low_frequencies_at_the_bottom(page):
    picture = Image.open(sorted((page.parent / "pictures" / "tiny" / "target").glob("*.png"))[0])
    grey = picture.convert("L")
    assert grey.size == (1 + -(-(19_200 + 384 - 128) // 128), 257)
    level = np.asarray(grey, dtype=float)
    assert level[-60:].mean() > level[:60].mean() + 20


def test_examples_go_from_hard_to_easy_then_the_worst(page, tiny):
    (board,) = boards(tiny)
    values = next(row for row in tiny if row.name == "noisy").values("stoi")
    ranked = sorted(values, key=values.get)
    even = [ranked[1], ranked[4]]
    # The worst of each system, then the second of each, ...
    lost = [bad.utterance.id for place in range(3) for bad in worst(board, "stoi", 3)[place::3]]
    bad = [name for name in dict.fromkeys(lost) if name not in even]
    ids = re.findall(r'aria-label="Utterance (\w+)"', page.read_text())
    assert ids == [*even, *bad[:2]]


def test_a_metric_that_is_not_installed_has_its_name(tiny):
    rows = copy.deepcopy(tiny)
    for row in rows:
        row.protocol["metrics"]["theirs"] = {"version": "2"}
    (board,) = boards(rows)
    assert dict(_protocol(board))["theirs"] == "2"


def test_figures_hold_every_score_and_the_groups_of_the_tables(tiny):
    (board,) = boards(tiny)
    data = json.loads(json.dumps(figure_data(board, [])))
    (noisy,) = (system for system in data["systems"] if system["name"] == "noisy")
    values = dict(zip(data["ids"], noisy["values"]["si-sdr"], strict=True))
    result = next(row for row in tiny if row.name == "noisy")
    assert values == pytest.approx(result.values("si-sdr"), abs=0.005)
    fact = data["facts"]["speaker"]
    groups = by_condition(board, "si-sdr", "speaker")
    assert fact["groups"] == [group.name for group in groups]
    assert [fact["of"].count(n) for n in range(len(groups))] == [group.count for group in groups]
    # All utterances have the same condition: no figure of it.
    assert list(data["facts"]) == ["snr_db", "speaker"]
    assert set(noisy["costs"].values()) == {None}
    (late,) = (system for system in data["systems"] if system["name"] == "late")
    marks = chips(rows_of(board)["late"])
    assert (late["grave"], late["chips"]) == (True, [mark.label for mark in marks])
    assert {"not causal", "other STOI"} <= set(late["chips"])


def test_cost_stands_in_the_table_with_the_processor(page, tiny):
    text = page.read_text().split('<section class="board"')[1]
    (method,) = (row for row in tiny if row.name == "log-mmse")
    assert f'data-value="{method.cost["peak_memory_mb"]}"' in text
    assert f"{method.cost['real_time_factor']:.3f}</td>" in text
    assert f"on one thread of {method.cost['processor']}." in text
    assert "Memory <small>MB</small>" in text
    assert '>40 <span class="letter">(32 + 8)</span></td>' in text
    assert "Latency: window and look-ahead + hop" in text


def test_what_has_no_value_is_null_not_zero(tiny):
    rows = copy.deepcopy(tiny)
    noisy = next(row for row in rows if row.name == "noisy")
    noisy.utterances[2].scores["stoi"] = Score(None, "undefined: silence")
    (board,) = boards(rows)
    data = figure_data(board, [])
    (system,) = (system for system in data["systems"] if system["name"] == "noisy")
    assert system["values"]["stoi"][data["ids"].index(noisy.utterances[2].id)] is None


def test_published_rows_stand_on_the_board_of_their_name_alone(page):
    first, second = page.read_text().split('<section class="board"')[1:]
    assert 'class="other"' not in first
    assert 'data-name="GTCRN, 2024"' in second
    assert "GTCRN README" in second
    assert "not measured here, not ranked" in second


def rows_of(board):
    return {row.name: row for row in board.rows}


def test_the_grave_marks_come_first_and_each_is_noted_once(tiny):
    (board,) = boards(tiny)
    row = rows_of(board)["log-mmse"]
    ahead, odd = Mark("+10 ms", "looks 10 ms ahead."), Mark("at odds", "it is.", grave=True)
    marked = dataclasses.replace(row, marks=(ahead, odd))
    assert [chip.label for chip in chips(marked)] == ["at odds", "+10 ms"]
    others = [dataclasses.replace(other, marks=(ahead,)) for other in board.rows[:2]]
    listed = notes(dataclasses.replace(board, rows=[*others, marked]))
    assert listed == [
        (odd, ["log-mmse"]),
        (ahead, [*(other.name for other in others), "log-mmse"]),
    ]


def test_many_metrics_are_not_all_shown_at_first():
    ten = ["pesq-wb", "csig", "cbak", "covl", "stoi", "si-sdr", "llr", "dnsmos-sig", "dnsmos-ovrl"]
    assert at_first(ten) == ["pesq-wb", "stoi", "si-sdr", "dnsmos-ovrl"]
    assert at_first(["csig", "cbak"]) == ["csig", "cbak"]


def test_published_figures_align_and_keep_their_digits():
    blank = chr(0x2007)
    assert padded(2.9, "pesq-wb") == f"2.9{blank}"
    assert padded(2.914, "pesq-wb") == "2.91"
    assert padded(3.0, "pesq-wb") == "3" + chr(0x2008) + 2 * blank
    assert padded(0.96, "stoi") == f"0.96{blank}"


def test_the_first_axis_of_cost_is_the_one_that_most_have(tiny):
    rows = copy.deepcopy(tiny)
    for row in rows:
        if row.name == "heavy":
            row.system["macs_per_second"] = None
    (board,) = boards(rows)
    assert next(iter(axes(board))) == "real_time_factor"
    assert columns(board)[-1] == "peak_memory_mb"
    assert shown("peak_memory_mb", 131.0) == ("131", "")


def test_what_a_row_rests_on_is_said_and_its_result_lies_beside_the_page(page, scored, tiny):
    row = rows_of(boards(tiny)[0])["heavy"]
    said = {(section, line.name): line for section, own in sections(row) for line in own}
    assert said["System", "weights and settings, SHA-256"].value == row.result.system["sha256"]
    assert said["System", "weights and settings, SHA-256"].is_hash
    assert said["System", "parameters"].value.replace("\u202f", "") == "5000000"
    assert said["Versions of metrics", "STOI"].value.startswith("pystoi")
    assert said["Made with", "time"].value == row.result.created
    assert said["Training", "training data"].value == "not known"
    text = page.read_text()
    assert row.result.environment["git"]["commit"] in text
    (link,) = set(re.findall(r'href="(results/tiny-[^"]+/log-mmse--tiny.json)"', text))
    original = scored / "log-mmse--tiny.json"
    assert load(page.parent / link).utterances == load(original).utterances
    digest = json.loads((page.parent / link).read_text())["content_sha256"]
    assert f"content SHA-256 {digest}" in text


def test_a_configuration_is_told_leaf_by_leaf(tiny):
    row = rows_of(boards(tiny)[0])["heavy"]
    config = {"model": {"class_path": "a.B", "init_args": {"hidden": 16000}}, "of": [{"x": None}]}
    told = {**(row.result.training or {}), "config": config}
    changed = dataclasses.replace(row, result=dataclasses.replace(row.result, training=told))
    found = dict(sections(changed))["Configuration"]
    assert [(line.name, line.value) for line in found] == [
        ("model.class_path", "a.B"),
        ("model.init_args.hidden", "16000"),
        ("of.0.x", "null"),
    ]


def test_several_seeds_leave_several_results(tiny, tmp_path):
    base = next(row for row in tiny if row.name == "heavy")
    seeds = [copy.deepcopy(base) for _ in range(2)]
    for number, row in enumerate(seeds):
        row.system["name"] = f"run-{number}"
        row.training = {
            "manifest_sha256": "a",
            "overlap": [],
            "unchecked": [],
            "recipe_sha256": "b",
            "seed": str(number),
            "optimised": [],
        }
    text = write_page([*tiny, *seeds], tmp_path).read_text()
    (dialog,) = re.findall(
        r'id="about-board-1-\d+-name">run-0 \(2 seeds\)</h3>.*?</dialog>', text, re.S
    )
    assert re.findall(r">(run-\d--tiny.json)</a>", dialog) == [
        "run-0--tiny.json",
        "run-1--tiny.json",
    ]


def test_the_protocol_names_who_differs(page):
    first = page.read_text().split('<details class="protocol">')[1]
    assert re.search(r"pystoi [\d.]+; but another \(late\)", first)


def test_what_is_true_of_all_rows_is_said(page, tiny):
    (board,) = boards(tiny)
    assert board.notes
    text = page.read_text()
    for note in board.notes:
        assert str(escape(note)) in text


def test_only_losses_are_listed_as_worst(tiny, tmp_path):
    rows = [copy.deepcopy(row) for row in tiny if row.name in ("noisy", "log-mmse")]
    held = next(row for row in rows if row.name == "noisy").values("stoi")
    method = next(row for row in rows if row.name == "log-mmse")
    for number, utterance in enumerate(method.utterances):
        change = -0.02 if number == 3 else 0.0001
        utterance.scores["stoi"] = Score(held[utterance.id] + change)
    table = write_page(rows, tmp_path).read_text().split('<table class="worst">')[1]
    assert re.findall(r"<td>(u\d)</td>", table.split("</table>")[0]) == [method.utterances[3].id]


def test_figures_in_the_heat_map_can_be_read_in_both_themes():
    colours = re.findall(r"--heat(?:-bad)?: #(\w{6})", (ASSETS / "page.css").read_text())
    assert len(colours) == 6
    for colour in colours:
        parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05) >= 4.5  # white on it, WCAG 2


def test_names_are_escaped(scored, tmp_path):
    rows = collect([scored])
    odd = copy.deepcopy(rows[0])
    odd.system["name"] = "<script>alert(1)"
    odd.utterances[0].scores["stoi"] = Score(None, "undefined: <b>")
    text = write_page([*rows, odd], tmp_path).read_text()
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;alert" in text


def test_without_audio_there_is_nothing_to_listen_to(scored, tmp_path):
    assert 'class="example"' not in write_page(collect([scored]), tmp_path).read_text()


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(RasedError, match="a page needs results"):
        write_page([], tmp_path)

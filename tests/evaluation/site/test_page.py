"""What is written into the folder of the page."""

import copy
import json
import re

import numpy as np
import pytest
from PIL import Image

from rased.errors import RasedError
from rased.evaluation import collect, write_page
from rased.evaluation.board import boards
from rased.evaluation.conditions import by_condition, worst
from rased.evaluation.site.figures import figure_data
from rased.metrics import Score


def test_everything_it_names_is_there_and_nothing_is_elsewhere(page):
    text = page.read_text()
    named = re.findall(r'(?:src|href|data-sound)="([^"#]+)"', text)
    scripts = re.findall(r'load\("([^"]+)"\)', (page.parent / "figures.js").read_text())
    assert scripts == ["plotly.min.js", "data.js"]
    assert len(named) > 10
    for reference in [*named, *scripts]:
        assert reference == "data:," or (page.parent / reference).is_file(), reference
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
    (method,) = (system for system in data["systems"] if system["name"] == "log-mmse")
    assert method["costs"]["real_time_factor"] > 0
    assert method["costs"]["peak_memory_mb"] > 0
    # First the costs on whose axis all stand; methods without weights have no parameters.
    assert list(data["costs"])[-1] == "parameters"


def test_the_first_cost_is_one_that_most_systems_have(tiny):
    rows = copy.deepcopy(tiny)
    next(row for row in rows if row.name == "log-mmse").system["macs_per_second"] = None
    (board,) = boards(rows)
    assert list(figure_data(board, [])["costs"]) == [
        *("real_time_factor", "peak_memory_mb"),
        *("macs_per_second", "parameters"),
    ]


def test_cost_stands_in_the_table_with_the_processor(page, tiny):
    text = page.read_text().split('<section class="board"')[1]
    (method,) = (row for row in tiny if row.name == "log-mmse")
    assert f'data-value="{method.cost["peak_memory_mb"]:.0f}"' in text
    assert f"{method.cost['real_time_factor']:.3f}</td>" in text
    assert f"on one thread of {method.cost['processor']}." in text
    assert "Memory <small>MB</small>" in text


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


def test_names_are_escaped(scored, tmp_path):
    rows = collect([scored])
    odd = copy.deepcopy(rows[0])
    odd.system["name"] = "<script>alert(1)</script>"
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

"""The leaderboard: what is shown, what is marked, what is refused."""

import copy
import io
import shutil

import numpy as np
import pytest
from rich.console import Console

from rased.errors import RasedError
from rased.evaluation import collect, print_table
from rased.evaluation import result as results
from rased.evaluation.leaderboard import as_plain, boards, compact
from rased.evaluation.statistics import bootstrap
from rased.metrics import Score


@pytest.fixture
def rows(scored):
    return collect([scored])


def named(rows, name):
    return next(row for row in rows if row.name == name)


def printed(rows, width=200):
    out = io.StringIO()
    print_table(rows, Console(file=out, width=width))
    return out.getvalue()


def test_means_intervals_and_order(rows):
    (board,) = boards(rows)
    assert board.name == "tiny"
    assert board.metrics == ["stoi", "si-sdr"]
    assert board.rows[0].name == "target"
    values = named(rows, "noisy").values("si-sdr")
    speakers = [f"speaker{int(name[1]) % 2}" for name in values]
    cell = next(row for row in board.rows if row.name == "noisy").cells["si-sdr"]
    assert cell.interval == bootstrap(list(values.values()), speakers)
    assert cell.interval.mean == pytest.approx(np.mean(list(values.values())))
    assert (cell.count, cell.total, cell.change) == (6, 6, None)


def test_the_verdict_is_paired(rows):
    better = copy.deepcopy(named(rows, "noisy"))
    better.system.update(name="better", kind="files")
    for utterance in better.utterances:
        for name, score in utterance.scores.items():
            utterance.scores[name] = Score(score.value + 0.01)
    (board,) = boards([*rows, better])
    cell = next(row for row in board.rows if row.name == "better").cells["stoi"]
    assert cell.verdict == "better"
    assert cell.change.mean == pytest.approx(0.01)
    assert cell.change.half < 1e-9 < cell.interval.half
    assert "▲" in printed([*rows, better])


def test_another_version_of_a_metric_is_marked_and_never_best(rows):
    other = copy.deepcopy(named(rows, "log-mmse"))
    other.system["name"] = "other"
    other.protocol["metrics"]["stoi"]["version"] = "pystoi 0.3"
    for utterance in other.utterances:
        utterance.scores["stoi"] = Score(0.999)
    (board,) = boards([*rows, other])
    row = next(row for row in board.rows if row.name == "other")
    assert not row.cells["stoi"].comparable
    assert row.cells["stoi"].change is None
    assert row.cells["si-sdr"].comparable
    assert row.marks == ("STOI by pystoi 0.3, other rows by pystoi 0.4.1: not comparable.",)
    assert board.best("stoi") != pytest.approx(0.999)
    assert "[1] other: STOI by pystoi 0.3" in printed([*rows, other])


def test_another_resampler_is_marked(rows):
    other = copy.deepcopy(named(rows, "log-mmse"))
    other.system["name"] = "zz-other"
    other.protocol["resampler"] = "soxr 0.5 HQ, 48000 to 16000 Hz"
    text = printed([*rows, other])
    assert "resampler: soxr 0.5 HQ, 48000 to 16000 Hz, other rows: none." in text


def test_missing_utterances_and_statuses_are_marked(rows):
    partial = copy.deepcopy(named(rows, "log-mmse"))
    partial.system["name"] = "partial"
    del partial.utterances[4:]
    partial.utterances[0].scores["stoi"] = Score(None, "undefined: the target is silent")
    (board,) = boards([*rows, partial])
    row = next(row for row in board.rows if row.name == "partial")
    assert row.marks == (
        "STOI: undefined: the target is silent (1 of 4 utterances).",
        "incomplete, 2 utterances to go: run the evaluation again.",
    )
    assert not row.cells["stoi"].comparable
    assert row.cells["stoi"].count == 3


def test_a_metric_without_any_value_has_no_mean(rows):
    silent = copy.deepcopy(named(rows, "log-mmse"))
    silent.system["name"] = "silent"
    for utterance in silent.utterances:
        utterance.scores["stoi"] = Score(None, "unavailable: pip install pystoi")
    (board,) = boards([*rows, silent])
    assert next(row for row in board.rows if row.name == "silent").cells["stoi"].interval is None
    assert "unavailable: pip install pystoi (6 of 6 utterances)" in printed([*rows, silent])


def test_another_list_of_the_same_name_is_another_board(rows):
    other = copy.deepcopy(named(rows, "noisy"))
    other.testset["list_sha256"] = "f" * 64
    names = [board.name for board in boards([*rows, other])]
    digest = rows[0].testset["list_sha256"][:8]
    assert names == [f"tiny ({digest})", "tiny (ffffffff)"]


def test_two_results_of_one_system_are_refused(rows):
    with pytest.raises(RasedError, match="two results of 'noisy' on 'tiny'"):
        boards([*rows, copy.deepcopy(named(rows, "noisy"))])


def test_collecting_refuses_what_was_changed_by_hand(scored, tmp_path):
    for path in scored.glob("*.json"):
        shutil.copy(path, tmp_path)
    assert len(collect([tmp_path])) == 3
    path = tmp_path / "log-mmse--tiny.json"
    path.write_text(path.read_text().replace('"parameters": 0', '"parameters": 9'))
    with pytest.raises(RasedError, match=r"log-mmse--tiny\.json' was changed"):
        collect([tmp_path])


def test_places_without_results(tmp_path):
    with pytest.raises(RasedError, match="holds no results"):
        collect([tmp_path])
    with pytest.raises(RasedError, match="cannot read the result"):
        collect([tmp_path / "no.json"])


@pytest.mark.parametrize("width", [200, 60, 40])
def test_every_width_shows_every_system(rows, width):
    text = printed(rows, width)
    assert all(name in text for name in ("noisy", "target", "log-mmse"))
    assert ("±0." in text.splitlines()[6]) == (width == 200)


def test_plain_data_for_programs(rows):
    (board,) = as_plain(rows)
    assert board["testset"]["name"] == "tiny"
    by_name = {row["system"]["name"]: row for row in board["rows"]}
    assert by_name["log-mmse"]["metrics"]["stoi"]["total"] == 6
    assert set(by_name["noisy"]["metrics"]["stoi"]["mean"]) >= {"mean", "low", "high", "method"}


def test_saving_a_loaded_result_keeps_the_board(rows, tmp_path):
    for row in rows:
        results.save(row, tmp_path / results.file_name(row.name, "tiny"))
    assert as_plain(collect([tmp_path])) == as_plain(rows)


@pytest.mark.parametrize(
    ("number", "text"), [(None, ""), (0, "0"), (999, "999"), (23_670, "23.7 K"), (4e10, "40 G")]
)
def test_large_numbers_for_readers(number, text):
    assert compact(number) == text

"""The leaderboard: what is shown, what is marked, what is refused."""

import copy
import io
import shutil

import numpy as np
import pytest
from rich.console import Console

from rased.cli import main
from rased.errors import RasedError
from rased.evaluation import collect, print_table
from rased.evaluation import result as results
from rased.evaluation.comparison.board import boards
from rased.evaluation.comparison.conditions import by_condition, worst
from rased.evaluation.comparison.statistics import interval
from rased.evaluation.report.terminal import as_plain, compact
from rased.metrics import Score
from tests.evaluation.conftest import grown, named, said_by, sentences, shifted


@pytest.fixture
def rows(scored):
    return collect([scored])


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
    assert cell.interval == interval(list(values.values()), speakers)
    assert cell.interval.mean == pytest.approx(np.mean(list(values.values())))
    assert (cell.count, cell.total, cell.change) == (6, 6, None)


def test_the_verdict_is_paired(rows):
    noisy = grown(named(rows, "noisy"))
    (board,) = boards([noisy, shifted(noisy, "better", stoi=0.01, si_sdr=0.1)])
    cell = next(row for row in board.rows if row.name == "better").cells["stoi"]
    assert cell.verdict == "better"
    assert cell.change.mean == pytest.approx(0.01)
    assert cell.change.high - cell.change.low < 1e-9 < cell.interval.high - cell.interval.low
    assert cell.p < 1e-5
    assert "▲" in printed([noisy, shifted(noisy, "better", stoi=0.01, si_sdr=0.1)])


def test_few_voices_get_no_interval_and_a_note(rows):
    (board,) = boards(rows)
    (note,) = [note for note in board.notes if "speakers" in note]
    assert note.startswith("2 speakers: too few to generalise to other speakers")
    text = printed(rows)
    assert "too few to generalise to other speakers" in " ".join(text.split())
    assert "±" not in text.partition("± half")[0]
    (plain,) = as_plain(rows)
    for row in plain["rows"]:
        for cell in row["metrics"].values():
            assert (cell["mean"]["method"], cell["mean"]["low"]) == ("recordings", None)


def test_five_voices_get_intervals(rows):
    noisy = said_by(named(rows, "noisy"), 5)
    assert "±" in printed([noisy]).partition("± half")[0]
    assert not any("voices" in note for note in boards([noisy])[0].notes)


def test_any_system_can_be_the_baseline(rows):
    noisy = grown(named(rows, "noisy"))
    better = shifted(noisy, "better", stoi=0.01)
    (board,) = boards([noisy, better], baseline="better")
    assert board.baseline == "better"
    assert next(row for row in board.rows if row.name == "noisy").cells["stoi"].verdict == "worse"
    with pytest.raises(RasedError, match=r"no result of the baseline 'beter'.*better"):
        boards([noisy, better], baseline="beter")


def test_seeds_of_one_recipe_are_one_row(rows):
    noisy = named(rows, "noisy")
    runs = []
    for seed, step in enumerate((1.0, 2.0, 4.5)):
        run = shifted(noisy, f"run{seed}", si_sdr=step)
        run.training = {
            **{"manifest_sha256": "a", "overlap": [], "unchecked": [], "optimised": []},
            **{"recipe_sha256": "b" * 64, "seed": str(seed)},
        }
        runs.append(run)
    (board,) = boards([noisy, *runs])
    assert {row.name for row in board.rows} == {"noisy", "run0 (3 seeds)"}
    row = next(row for row in board.rows if row.seeds == 3)
    cell = row.cells["si-sdr"]
    mean = np.mean(list(noisy.values("si-sdr").values()))
    assert cell.interval.mean == pytest.approx(mean + 2.5)
    assert cell.spread == pytest.approx(np.std([1.0, 2.0, 4.5], ddof=1))
    assert cell.change.mean == pytest.approx(2.5)
    runs[1].training["recipe_sha256"] = "c" * 64
    assert len(boards([noisy, *runs])[0].rows) == 3


def test_marks_tell_what_scores_do_not(rows):
    row = shifted(named(rows, "noisy"), "odd")
    row.system.update(causal=True, look_ahead=480, sample_rate=16_000)
    row.training = {
        **{"manifest_sha256": None, "overlap": [], "recipe_sha256": None, "seed": None},
        "unchecked": ["what it was trained on is not known: it may have seen this test"],
        "optimised": ["si-sdr", "snr"],
    }
    for place, utterance in enumerate(row.utterances):
        utterance.measured = {"delay_ms": 32.0 - place, "level_db": 6.0 if place == 5 else 0.0}
    (board,) = boards([row])
    assert sentences(board, "odd") == [
        "what it was trained on is not known: it may have seen this test.",
        "trained with SI-SDR in its loss.",
        "looks 30 ms ahead.",
        "6 of 6 outputs late, by up to 32.0 ms.",
        "1 of 6 outputs louder than the input, by up to 6.0 dB.",
    ]
    assert [mark.label for mark in board.rows[0].marks] == [
        *("training unknown", "trained with SI-SDR", "+30 ms", "late", "louder"),
    ]
    assert not any(mark.grave for mark in board.rows[0].marks)


def test_collecting_refuses_who_has_seen_the_test(rows, tmp_path):
    row = shifted(named(rows, "noisy"), "cheat")
    row.training = {
        **{"manifest_sha256": "a" * 64, "recipe_sha256": None, "seed": None, "optimised": []},
        "overlap": ["its train data hold 2 speakers of the test set (ann, bob)"],
        **{"checked": {"speaker": "names"}, "unchecked": [], "config": {}},
    }
    results.save(row, tmp_path / "cheat--tiny.json")
    with pytest.raises(RasedError, match=r"2 speakers of the test set \(ann, bob\)"):
        collect([tmp_path])


def test_the_terminal_refuses_one_and_shows_the_others(rows, tmp_path, capsys):
    cheat = shifted(named(rows, "noisy"), "cheat")
    cheat.training = {
        **{"manifest_sha256": "a" * 64, "recipe_sha256": None, "seed": None, "optimised": []},
        "overlap": ["its train data hold 1 room of the test set (r1)"],
        **{"checked": {"room": "names"}, "unchecked": [], "config": {}},
    }
    for row in (*rows, cheat):
        results.save(row, tmp_path / results.file_name(row.name, "tiny"))
    assert main(["leaderboard", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "log-mmse" in told.out
    assert "cheat" not in told.out
    assert "refused: '" in told.err
    assert "1 room of the test set (r1)" in told.err


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
    assert not row.cells["stoi"].best
    assert row.rank is None
    assert sentences(board, "other") == [
        "STOI measured with pystoi 0.3, in other rows with pystoi 0.4.1: not comparable.",
        "not ranked: not comparable with most rows in STOI.",
    ]
    assert next(row for row in board.rows if row.name == "log-mmse").rank is not None
    assert "[1] other: STOI measured with pystoi 0.3" in printed([*rows, other])


def test_another_processor_is_marked(rows):
    others = [copy.deepcopy(named(rows, "log-mmse")) for _ in range(2)]
    for place, other in enumerate(others):
        other.system["name"] = f"other-{place}"
    others[0].cost["processor"] = "Abacus"
    (board,) = boards([*rows, *others])
    usual = others[1].cost["processor"]
    marks = {row.name: [mark.sentence for mark in row.marks] for row in board.rows}
    assert marks.pop("other-0") == [f"RTF measured on Abacus, other rows: {usual}."]
    assert list(marks.values()) == [[]] * 4


def test_another_resampler_is_marked(rows):
    other = copy.deepcopy(named(rows, "log-mmse"))
    other.system["name"] = "zz-other"
    other.protocol["resampler"] = "soxr 0.5 HQ, 48000 to 16000 Hz"
    text = printed([*rows, other])
    assert "resampler: soxr 0.5 HQ, 48000 to 16000 Hz, other rows: none; not comparable." in text


def test_missing_utterances_and_statuses_are_marked(rows):
    partial = copy.deepcopy(named(rows, "log-mmse"))
    partial.system["name"] = "partial"
    del partial.utterances[4:]
    partial.utterances[0].scores["stoi"] = Score(None, "undefined: the target is silent")
    (board,) = boards([*rows, partial])
    row = next(row for row in board.rows if row.name == "partial")
    assert sentences(board, "partial") == [
        "STOI: undefined: the target is silent (1 of 4 utterances), but other rows have values: not comparable.",
        "incomplete, 2 utterances are missing: run the evaluation again.",
    ]
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
    with pytest.raises(RasedError, match="contains no results"):
        collect([tmp_path])
    with pytest.raises(RasedError, match="cannot be read: no such file"):
        collect([tmp_path / "no.json"])


@pytest.mark.parametrize("width", [200, 60, 40])
def test_every_width_shows_every_system(rows, width):
    text = printed([said_by(row, 6) for row in rows], width)
    assert all(name in text for name in ("noisy", "target", "log-mmse"))
    assert ("±0." in text.splitlines()[6]) == (width == 200)


def test_plain_data_for_programs(rows):
    (board,) = as_plain(rows)
    assert board["testset"]["name"] == "tiny"
    by_name = {row["system"]["name"]: row for row in board["rows"]}
    assert by_name["log-mmse"]["metrics"]["stoi"]["total"] == 6
    assert set(by_name["noisy"]["metrics"]["stoi"]["mean"]) >= {"mean", "low", "high", "method"}
    assert by_name["log-mmse"]["comparable"]
    assert by_name["log-mmse"]["metrics"]["stoi"]["comparable"]
    assert by_name["log-mmse"]["metrics"]["stoi"]["verdict"] in ("", "better", "worse")
    (note,) = board["notes"]
    assert note.startswith("2 speakers: too few to generalise to other speakers")


def test_saving_a_loaded_result_keeps_the_board(rows, tmp_path):
    for row in rows:
        results.save(row, tmp_path / results.file_name(row.name, "tiny"))
    assert as_plain(collect([tmp_path])) == as_plain(rows)


@pytest.mark.parametrize(
    ("number", "text"), [(None, ""), (0, "0"), (999, "999"), (23_670, "23.7 K"), (4e10, "40 G")]
)
def test_large_numbers_for_readers(number, text):
    assert compact(number) == text


def test_means_by_condition(rows):
    (board,) = boards(rows)
    groups = by_condition(board, "si-sdr", "speaker")
    assert [(group.name, group.count) for group in groups] == [("speaker0", 3), ("speaker1", 3)]
    noisy = named(rows, "noisy").values("si-sdr")
    assert groups[0].means["noisy"].mean == pytest.approx(
        np.mean([noisy[n] for n in ("u0", "u2", "u4")])
    )
    assert [g.name for g in by_condition(board, "stoi", "snr_db")] == [
        *("0 dB", "3 dB", "6 dB", "9 dB", "12 dB", "15 dB"),
    ]
    with pytest.raises(RasedError, match="has the fact 't60'"):
        by_condition(board, "stoi", "t60")
    with pytest.raises(RasedError, match=r"unknown fact 'snr'.*snr_db"):
        by_condition(board, "stoi", "snr")


def test_many_values_are_put_into_ranges(rows):
    row = grown(named(rows, "noisy"), times=2)
    for place, utterance in enumerate(row.utterances):
        utterance.facts["t60"] = 0.25 + 0.1 * place if place < 10 else None
    (board,) = boards([row])
    found = [(group.name, group.count) for group in by_condition(board, "stoi", "t60")]
    assert found == [
        ("below 0.3 s", 1),
        ("0.3 to 0.6 s", 3),
        ("0.6 to 1 s", 4),
        ("1 to 2 s", 2),
        ("no room", 2),
    ]


def test_the_worst_are_those_that_lost_most(rows):
    noisy = grown(named(rows, "noisy"))
    other = shifted(noisy, "other", si_sdr=1.0)
    other.utterances[7].scores["si-sdr"] = Score(noisy.utterances[7].scores["si-sdr"].value - 9)
    (board,) = boards([noisy, other])
    (bad,) = worst(board, "si-sdr", 1)
    assert (bad.system, bad.utterance.id) == ("other", noisy.utterances[7].id)
    assert bad.value - bad.baseline == pytest.approx(-9)


def test_the_worst_without_values_come_first_and_without_a_baseline_last(rows):
    noisy = grown(named(rows, "noisy"))
    other = shifted(noisy, "other", si_sdr=1.0)
    other.utterances[7].scores["si-sdr"] = Score(None, "undefined: the estimate is silent")
    noisy.utterances[8].scores["si-sdr"] = Score(None, "undefined: the estimate is silent")
    (board,) = boards([noisy, other])
    found = worst(board, "si-sdr", 48)
    assert (found[0].utterance.id, found[0].value) == (noisy.utterances[7].id, None)
    assert found[0].status == "undefined: the estimate is silent"
    assert (found[-1].utterance.id, found[-1].baseline) == (noisy.utterances[8].id, None)


def test_without_a_baseline_there_is_no_word_of_verdicts(rows):
    assert "worse than noisy" in " ".join(printed(rows).split())
    assert "worse than" not in printed([named(rows, "log-mmse")])


def test_the_worst_say_where_their_audio_is(scored, rows, capsys):
    main(["leaderboard", str(scored), "--worst", "1", "--metric", "stoi"])
    (board,) = boards(rows)
    (bad,) = worst(board, "stoi", 1)
    path = scored / "audio" / "tiny" / "log-mmse" / f"{bad.utterance.id}.wav"
    assert path.is_file()
    assert str(path) in capsys.readouterr().out


def test_conditions_and_the_worst_in_the_terminal(scored, capsys):
    main(["leaderboard", str(scored), "--by", "speaker", "--worst", "2", "--metric", "stoi"])
    text = capsys.readouterr().out
    assert "STOI by speaker on tiny" in text
    assert "worst STOI on tiny, against noisy" in text
    assert "condition noise, snr_db" in text


def test_metrics_that_do_not_fit_side_by_side_get_tables_of_their_own(rows):
    rows = copy.deepcopy(rows)
    names = ("pesq-wb", "csig", "cbak", "covl", "snr", "sdr", "lsd", "mcd", "llr")
    for row in rows:
        for name in names:
            row.protocol["metrics"][name] = row.protocol["metrics"]["stoi"]
            for utterance in row.utterances:
                utterance.scores[name] = Score(1.25)
    text = printed(rows, 80)
    assert "\u2026" not in text
    assert text.count("tiny: 6 utterances") > 1
    assert max(map(len, text.splitlines())) <= 80
    assert printed(rows, 400).count("tiny: 6 utterances") == 1


def test_without_results_the_project_s_own_board_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard"]) == 0
    shown = capsys.readouterr()
    assert "gru-mask-16k" in shown.out
    assert "the results that come with rased" in shown.err


def test_without_results_those_of_the_folder_come_first(rows, tmp_path, monkeypatch, capsys):
    results.save(named(rows, "noisy"), tmp_path / "results" / "noisy--tiny.json")
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard"]) == 0
    shown = capsys.readouterr()
    assert "tiny: 6 utterances" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize("option", ["--worst", "--recheck"])
def test_a_negative_number_of_utterances_is_one_sentence(scored, option, capsys):
    assert main(["leaderboard", str(scored), f"{option}=-1"]) == 2
    assert f"{option} is -1; give 1 or more" in capsys.readouterr().err

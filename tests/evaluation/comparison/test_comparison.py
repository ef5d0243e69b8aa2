"""Which rows compare: decided once, and read by ranks, best, verdicts and marks alike."""

import copy

import pytest

from rased.evaluation import collect
from rased.evaluation.comparison.board import boards
from rased.metrics import Score
from tests.evaluation.conftest import grown, measured, named, said_by, sentences, shifted


@pytest.fixture
def noisy(scored):
    return grown(named(collect([scored]), "noisy"))


def row_of(board, name):
    return next(row for row in board.rows if row.name == name)


def test_thirteen_speakers_and_twenty_systems_keep_verdicts(noisy):
    noisy = said_by(noisy, 13)
    (board,) = boards([noisy, *(shifted(noisy, f"s{k}", stoi=0.01, si_sdr=1.0) for k in range(20))])
    cells = [row.cells["stoi"] for row in board.rows if row.kind]
    assert max(cell.p for cell in cells) < 1e-6
    assert {cell.verdict for cell in cells} == {"better"}


def test_more_metrics_do_not_weaken_a_verdict(noisy):
    better = shifted(noisy, "better", stoi=0.01)
    (board,) = boards([noisy, better])
    for metric in ("snr", "sdr", "lsd", "mcd", "llr"):
        for row in (noisy, better):
            measured(row, metric, 1.0)
    (wide,) = boards([noisy, better])
    assert row_of(wide, "better").cells["stoi"].p == row_of(board, "better").cells["stoi"].p


def test_the_target_is_no_comparison(scored):
    rows = collect([scored])
    (board,) = boards(rows)
    assert row_of(board, "target").cells["stoi"].p is None
    (alone,) = boards([row for row in rows if row.name != "target"])
    assert row_of(board, "log-mmse").cells["stoi"].p == row_of(alone, "log-mmse").cells["stoi"].p


@pytest.mark.parametrize("name", ["aligned", "zz-aligned"])
def test_another_protocol_is_out_whatever_its_name(noisy, name):
    plain = shifted(noisy, "plain", stoi=0.01)
    other = shifted(noisy, name, stoi=0.2, si_sdr=9.0)
    other.protocol["alignment"] = "delays up to 0.25 s taken out"
    (board,) = boards([other, noisy, plain])
    row = row_of(board, name)
    assert not row.comparable
    assert (row.rank, row.cells["stoi"].verdict, row.cells["stoi"].best) == (None, "", False)
    assert row.cells["stoi"].change is None
    assert sentences(board, name) == [
        "alignment: delays up to 0.25 s taken out, other rows: none; not comparable."
    ]
    assert row.marks[0].grave
    fair = row_of(board, "plain")
    assert (fair.rank, fair.cells["stoi"].verdict, fair.marks) == (1.0, "better", ())


def test_of_two_protocols_that_of_the_noisy_input_is_the_norm(noisy):
    other = shifted(noisy, "a", stoi=0.2)
    other.protocol["resampler"] = "another"
    (board,) = boards([other, noisy])
    assert [row.comparable for row in board.rows if row.kind] == [False]
    assert row_of(board, "noisy").comparable


def test_a_baseline_of_another_protocol_holds_nothing(noisy):
    other = shifted(noisy, "other")
    other.protocol["resampler"] = "another"
    (board,) = boards([noisy, shifted(noisy, "a", stoi=0.1), other], baseline="other")
    assert {cell.verdict for row in board.rows for cell in row.cells.values()} == {""}
    assert "other is not comparable with the other rows, so there are no verdicts." in board.notes


def test_who_fails_on_the_hard_ones_does_not_win(noisy):
    honest = shifted(noisy, "honest", stoi=0.01, si_sdr=1.0)
    dropper = shifted(noisy, "dropper", stoi=0.01, si_sdr=1.0)
    hard = sorted(honest.values("stoi"), key=honest.values("stoi").get)[:10]
    for utterance in dropper.utterances:
        if utterance.id in hard:
            for metric in ("stoi", "si-sdr"):
                utterance.scores[metric] = Score(None, "undefined: the estimate is silent")
    (board,) = boards([noisy, honest, dropper])
    row = row_of(board, "dropper")
    assert row.cells["stoi"].interval.mean > row_of(board, "honest").cells["stoi"].interval.mean
    assert (row.rank, row.cells["stoi"].best, row.cells["stoi"].verdict) == (None, False, "")
    assert sentences(board, "dropper") == [
        "STOI, SI-SDR: undefined: the estimate is silent (10 of 48 utterances), "
        "but other rows have values: not comparable."
    ]
    assert row_of(board, "honest").rank == 1.0
    assert row_of(board, "honest").cells["stoi"].best


def test_what_nobody_can_measure_costs_nobody_a_rank(noisy):
    noisy.utterances[0].scores["stoi"] = Score(None, "undefined: the target is silent")
    row = copy.deepcopy(noisy)
    row.system.update(name="a", kind="files")
    (board,) = boards([noisy, row])
    assert all(row.rank is not None and row.cells["stoi"].comparable for row in board.rows)
    assert {row.cells["stoi"].count for row in board.rows} == {47}
    assert not any(mark.grave for row in board.rows for mark in row.marks)


def test_means_are_over_what_all_have(noisy):
    # The baseline and one other fail on the last; the third does not, and gains nothing by it.
    other, lucky = shifted(noisy, "other", stoi=0.01), shifted(noisy, "lucky", stoi=0.01)
    last = noisy.utterances[-1].id
    for row in (noisy, other, shifted(noisy, "x")):
        row.utterances[-1].scores["stoi"] = Score(None, "undefined: too short")
    lucky.utterances[-1].scores["stoi"] = Score(1.0)
    (board,) = boards([noisy, other, lucky])
    assert last in lucky.values("stoi")
    ours, theirs = (row_of(board, name).cells["stoi"] for name in ("other", "lucky"))
    assert ours.interval == theirs.interval
    assert row_of(board, "other").rank == row_of(board, "lucky").rank


def test_one_more_metric_unranks_nobody(noisy):
    more = shifted(noisy, "more", stoi=0.02)
    measured(more, "lsd", 5.0)
    (board,) = boards([noisy, more, shifted(noisy, "a", stoi=0.01)])
    assert [row.rank for row in board.rows] == [1.0, 1.5, 2.0]
    assert not any(row.marks for row in board.rows)


def test_who_lacks_what_most_have_says_so(noisy):
    less = shifted(noisy, "less", si_sdr=30.0)
    for utterance in less.utterances:
        del utterance.scores["stoi"]
    (board,) = boards([noisy, less, shifted(noisy, "a", stoi=0.01)])
    assert row_of(board, "less").rank is None
    assert sentences(board, "less") == ["not ranked: not comparable with most rows in STOI."]
    assert row_of(board, "less").cells["si-sdr"].best


def test_composites_of_pesq_are_no_votes_of_their_own(noisy):
    pesq, lsd = shifted(noisy, "pesq"), shifted(noisy, "lsd")
    for row, good, distance in ((noisy, 1.0, 9.0), (pesq, 3.0, 8.0), (lsd, 2.0, 2.0)):
        for metric in ("pesq-wb", "csig", "cbak", "covl"):
            measured(row, metric, good)
        measured(row, "lsd", distance)
        for utterance in row.utterances:
            del utterance.scores["stoi"], utterance.scores["si-sdr"]
    (board,) = boards([noisy, pesq, lsd])
    assert {row.name: row.rank for row in board.rows} == {"pesq": 1.5, "lsd": 1.5, "noisy": 3.0}


def test_all_that_cannot_be_told_from_the_best_are_best(noisy):
    top, near = shifted(noisy, "top", stoi=0.1), shifted(noisy, "near", stoi=0.1)
    for place, utterance in enumerate(near.utterances):
        utterance.scores["stoi"] = Score(utterance.scores["stoi"].value - 0.01 * (-1) ** place)
    near.utterances[0].scores["stoi"] = Score(near.utterances[0].scores["stoi"].value - 0.01)
    (board,) = boards([noisy, top, near, shifted(noisy, "far", stoi=0.09)])
    best = {row.name: row.cells["stoi"].best for row in board.rows}
    assert best == {"top": True, "near": True, "far": False, "noisy": False}


def test_a_result_that_has_just_begun_is_incomplete(noisy):
    begun = shifted(noisy, "begun")
    begun.utterances.clear()
    (board,) = boards([noisy, begun])
    (sentence,) = sentences(board, "begun")
    assert sentence == "incomplete, 48 utterances are missing: run the evaluation again."


def run_of(row, seed, manifest="a", **by):
    run = shifted(row, f"run{seed}", **by)
    run.training = {
        **{"manifest_sha256": manifest, "overlap": [], "unchecked": [], "optimised": []},
        **{"recipe_sha256": "b" * 64, "seed": str(seed)},
    }
    return run


def test_marks_of_any_seed_are_marks_of_the_row(noisy):
    runs = [run_of(noisy, seed) for seed in range(3)]
    for run in runs:
        run.system["causal"] = False
    for utterance in runs[1].utterances:
        utterance.measured = {"delay_ms": 30.0, "level_db": 0.0}
    (board,) = boards([noisy, *runs])
    assert row_of(board, "run0 (3 seeds)").members == ("run0", "run1", "run2")
    assert sentences(board, "run0 (3 seeds)") == [
        "not causal: needs the whole utterance.",
        "run1: 48 of 48 outputs late, by up to 30.0 ms.",
    ]


def test_seeds_of_other_data_are_other_rows(noisy):
    runs = [run_of(noisy, 0), run_of(noisy, 1, manifest="c"), run_of(noisy, 2, manifest=None)]
    (board,) = boards([noisy, *runs])
    assert {row.name for row in board.rows} == {"noisy", "run0", "run1", "run2"}


@pytest.mark.parametrize("name", ["run0", "run1"])
def test_any_seed_names_its_row_as_baseline(noisy, name):
    runs = [run_of(noisy, 0, stoi=0.02), run_of(noisy, 1, stoi=0.04)]
    (board,) = boards([noisy, shifted(noisy, "a", stoi=0.1), *runs], baseline=name)
    assert board.baseline == "run0 (2 seeds)"
    assert row_of(board, "run0 (2 seeds)").cells["stoi"].change is None
    assert row_of(board, "a").cells["stoi"].change.mean == pytest.approx(0.07)


def test_who_has_seen_the_test_has_no_rank(noisy):
    cheat = run_of(noisy, 0, stoi=0.3)
    cheat.training["overlap"] = ["its train data hold 1 speaker of the test set (ann)"]
    (board,) = boards([noisy, shifted(noisy, "a", stoi=0.1), cheat])
    row = row_of(board, "run0")
    assert (row.comparable, row.rank, row.cells["stoi"].best) == (False, None, False)
    assert [(mark.label, mark.grave) for mark in row.marks] == [("seen in training", True)]


@pytest.mark.parametrize(
    ("speakers", "said"),
    [(1, "1 speaker: "), (2, "2 speakers: "), (4, "4 speakers: "), (5, ""), (12, "")],
)
def test_few_voices_are_said_to_be_few(noisy, speakers, said):
    (board,) = boards([said_by(noisy, speakers)])
    assert len(board.notes) == (said != "")
    assert all(
        note.startswith(f"{said}too few to generalise to other speakers") for note in board.notes
    )
    for utterance in noisy.utterances:
        utterance.facts["speaker"] = None
    assert boards([noisy])[0].notes == (
        "The test set has no speaker labels: intervals and tests treat its utterances as independent.",
    )

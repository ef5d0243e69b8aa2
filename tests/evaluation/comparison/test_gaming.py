"""Rows whose metrics contradict one another are flagged; honest ones, and what was published, hardly ever."""

import pytest

from rased.evaluation import collect
from rased.evaluation.comparison.board import boards
from rased.evaluation.comparison.gaming import LEAST, PESQ, behind, implausible
from rased.evaluation.comparison.published import _table
from tests.evaluation.conftest import grown, measured, named, said_by, sentences, shifted

VOICEBANK = {"pesq-wb": 1.97, "stoi": 0.921, "si-sdr": 8.45, "cbak": 2.44}
"""Of the noisy input of VoiceBank+DEMAND."""


@pytest.fixture
def noisy(scored):
    row = grown(named(collect([scored]), "noisy"))
    measured(row, "pesq-wb", 1.97)
    return row


@pytest.mark.parametrize(
    ("pesq", "si_sdr"),
    [(3.82, -19.8), (3.73, 7.7)],
    ids=["de Oliveira 2024", "a PESQ loss: 2.91 to 3.73"],
)
def test_the_documented_cases(pesq, si_sdr):
    gains = {"pesq-wb": pesq - 1.97, "si-sdr": si_sdr - 8.45}
    assert behind("pesq-wb", gains, VOICEBANK) == ["si-sdr"]


def test_of_what_was_published_two_rows_are_behind():
    found, asked = [], 0
    for row in _table():
        noisy = {}
        for other in _table():
            if other.dataset == row.dataset and other.system.lower().startswith(
                ("noisy", "unproc")
            ):
                noisy = other.scores | noisy
        gains = {m: value - noisy[m] for m, value in row.scores.items() if m in noisy}
        for pesq in PESQ:
            if pesq in gains and gains.keys() & LEAST.keys():
                asked += 1
                low = implausible(row.scores) if row.dataset == "VoiceBank+DEMAND" else []
                if (late := behind(pesq, gains, noisy)) or low:
                    found.append((row.name, late))
    assert asked > 110
    assert found == [("MetricGAN+, 2021", ["stoi"]), ("Spiking-S4, 2024", ["cbak"])]


def test_pesq_that_rises_alone_is_flagged(noisy):
    gamed = shifted(noisy, "gamed", pesq_wb=1.76, si_sdr=-0.75)
    honest = shifted(noisy, "honest", pesq_wb=1.76, si_sdr=10.0, stoi=0.1)
    small = shifted(noisy, "small", pesq_wb=0.2, si_sdr=-0.1)
    (board,) = boards([noisy, gamed, honest, small])
    assert sentences(board, "gamed") == [
        "PESQ wb +1.76 over the noisy input with SI-SDR -0.75 and STOI +0 only: it may have been optimised for PESQ."
    ]
    assert sentences(board, "small") == ["PESQ wb is better and SI-SDR worse than the noisy input."]
    assert sentences(board, "honest") == []
    grave = {row.name: [mark.grave for mark in row.marks] for row in board.rows}
    assert grave == {"noisy": [], "gamed": [True], "honest": [], "small": [False]}


def test_pesq_without_company_is_flagged_though_nothing_falls(noisy):
    (board,) = boards([noisy, shifted(noisy, "alone", pesq_wb=1.9)])
    assert sentences(board, "alone") == [
        "PESQ wb +1.90 over the noisy input with SI-SDR +0 and STOI +0 only: it may have been optimised for PESQ."
    ]


def test_flags_stay_on_a_large_board_of_few_speakers(noisy):
    noisy = said_by(noisy, 13)
    gamed = [shifted(noisy, f"gamed{k}", pesq_wb=1.5, si_sdr=-10.0) for k in range(20)]
    (board,) = boards([noisy, *gamed])
    assert all([m.label for m in row.marks] == ["PESQ at odds"] for row in board.rows if row.kind)


def test_the_noisy_input_is_what_gains_are_over_whatever_the_baseline(noisy):
    gamed = shifted(noisy, "gamed", pesq_wb=1.76, si_sdr=-0.75)
    other = shifted(noisy, "other", pesq_wb=2.0, si_sdr=10.0, stoi=0.1)
    marks = [
        sentences(boards([noisy, gamed, other], baseline=name)[0], "gamed")
        for name in ("noisy", "other")
    ]
    assert marks[0] == marks[1] != []


def test_without_the_noisy_input_nothing_was_checked(noisy):
    (board,) = boards([shifted(noisy, "gamed", pesq_wb=1.76, si_sdr=-0.75)])
    assert board.notes[0].startswith("Contradictions between metrics were not checked")
    assert sentences(board, "gamed") == []


def test_on_voicebank_demand_a_row_is_implausible_alone(noisy):
    row = shifted(noisy, "gamed", pesq_wb=1.5)
    measured(row, "si-sdr", 7.7)
    measured(row, "stoi", 0.95, spread=0.001)
    sentence = "PESQ wb 3.47 with SI-SDR 7.70: it may have been optimised for PESQ."
    assert sentences(boards([row])[0], "gamed") == []
    row.testset["name"] = "voicebank-demand"
    assert sentences(boards([row])[0], "gamed") == [sentence]


@pytest.mark.parametrize("opinion", ["dnsmos-sig", "dnsmos-bak", "dnsmos-p808", "utmos"])
def test_a_mos_that_rises_while_the_voice_is_lost(noisy, opinion):
    measured(noisy, opinion, 2.0)
    measured(noisy, "speaker-similarity", 0.9, spread=0.001)
    measured(noisy, "dwer", 0.3, spread=0.001)
    up = {opinion.replace("-", "_"): 1.0}
    dreamt = shifted(noisy, "dreamt", **up, speaker_similarity=-0.2, dwer=0.1)
    (board,) = boards([noisy, dreamt, shifted(noisy, "honest", **up, dwer=-0.1)])
    (sentence,) = sentences(board, "dreamt")
    assert (
        "speaker sim. and dWER worse than the noisy input: the output may contain speech that was never said."
        in sentence
    )
    assert next(row for row in board.rows if row.name == "dreamt").marks[0].grave
    assert sentences(board, "honest") == []


def test_a_mos_that_nobody_checked(noisy):
    measured(noisy, "dnsmos-sig", 2.0)
    risen = shifted(noisy, "risen", dnsmos_sig=1.0)
    (board,) = boards([noisy, risen])
    assert any("DNSMOS SIG can rise for speech that was never said" in note for note in board.notes)
    assert sentences(board, "risen") == []
    other = shifted(noisy, "other")
    for row in (noisy, other):
        measured(row, "speaker-similarity", 0.9, spread=0.001)
    (board,) = boards([noisy, risen, other])
    assert sentences(board, "risen")[0] == (
        "DNSMOS SIG better than the noisy input, but neither words nor speaker were checked."
    )

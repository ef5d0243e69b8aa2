"""Published figures: read as printed, beside ours, never among them."""

import copy
import io

from rich.console import Console

from rased.evaluation import collect, print_table
from rased.evaluation.comparison.board import boards
from rased.evaluation.comparison.published import NOTICE, TAGS, UNKNOWN, _table, published_beside
from rased.evaluation.report.terminal import as_plain


def on(scored, name):
    rows = copy.deepcopy(collect([scored]))
    for row in rows:
        row.testset["name"] = name
    return rows


def test_every_row_says_where_it_was_published():
    rows = _table()
    assert len(rows) == 182
    for row in rows:
        assert row.source, row
        assert row.scores, row
        assert set(row.told_by.split(" and ")) <= {*TAGS.values(), UNKNOWN}, row
    untold = {row.dataset for row in rows if row.told_by == UNKNOWN}
    assert untold == {"REVERB-SimData"}
    gtcrn = next(row for row in rows if row.name == "GTCRN, 2024" and "Voice" in row.dataset)
    assert gtcrn.scores == {"pesq-wb": 2.87, "stoi": 0.94, "si-sdr": 18.83}
    assert (round(gtcrn.parameters), gtcrn.causal) == (23_700, True)
    assert gtcrn.told_by == TAGS["A"]


def test_another_protocol_of_the_same_corpus_is_another_test_set(scored):
    (board,) = boards(on(scored, "voicebank-demand"))
    beside = published_beside(board)
    assert {row.dataset for row in beside} == {"VoiceBank+DEMAND"}
    assert all(row.scores.keys() & {"stoi", "si-sdr"} for row in beside)
    (own,) = boards(collect([scored]))
    assert published_beside(own) == []


def test_the_terminal_shows_them_below_with_sources_when_asked(scored):
    rows = on(scored, "VoiceBank+DEMAND")

    def printed(**how):
        out = io.StringIO()
        print_table(rows, Console(file=out, width=200), **how)
        return out.getvalue()

    assert "GTCRN" not in printed()
    text = printed(published=True)
    assert text.index("log-mmse") < text.index("published, not measured") < text.index("GTCRN")
    assert text.index(NOTICE) < text.index("GTCRN, 2024, by the authors: [A] GTCRN README")


def test_they_take_no_part_in_ranks(scored):
    rows = on(scored, "VoiceBank+DEMAND")
    (alone,), (beside,) = as_plain(rows), as_plain(rows, published=True)
    assert len(beside.pop("published")) > 10
    assert beside == alone

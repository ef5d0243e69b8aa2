"""`rased data stream`: the same lines whatever reads them."""

import json

import pytest

from rased.cli import main

WORDS = ["data", "stream", "-c", "data/bundle", "--samples", "3:15"]


def _lines(capsys, *more):
    assert main([*WORDS, *more]) == 0
    return capsys.readouterr().out.splitlines()


def test_lines_do_not_depend_on_workers_or_ranks(capsys):
    alone = _lines(capsys, "--hashes")
    assert len(alone) == len({line.split("\t")[-1] for line in alone}) == 12
    assert _lines(capsys, "--hashes", "--workers", "2", "--world-size", "3") == alone
    assert _lines(capsys, "--hashes", "--epoch", "1") != alone


def test_json_holds_what_was_drawn(capsys):
    row = json.loads(_lines(capsys, "--json")[0])
    assert row["index"] == 3
    assert -5 <= row["snr_db"] <= 15
    assert row["key"].startswith("train-")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--samples", "5:5"], "range of indices"),
        (["--samples", "x"], "range of indices"),
        (["--samples", "0:99999"], "an epoch has 1600"),
    ],
)
def test_wrong_ranges_are_named(capsys, words, sentence):
    assert main(["data", "stream", "-c", "data/bundle", *words]) == 2
    assert sentence in capsys.readouterr().err

"""`rased bench resume`: going on far within an epoch costs what its beginning costs."""

import json

import pytest

from rased.cli import main


def test_the_first_batch_costs_the_same_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "resume", "--samples", "3000", "--batch-size", "8", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["samples"], figures["position"]) == (3000, 2700)
    for shuffle in ("by_samples", "by_blocks"):
        found = figures[shuffle]
        assert 0 < found["first_batch_within"] < 3 * found["first_batch"]
        assert found["reading"] > 20 * found["first_batch_within"]

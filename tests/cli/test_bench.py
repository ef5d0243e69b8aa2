import json

import pytest

from rased.cli import main
from tests.zoo.conftest import made, put, shelf  # noqa: F401


@pytest.fixture
def entry(shelf, put):  # noqa: F811
    return put(shelf / "tiny")


@pytest.mark.slow
def test_memory_of_a_long_file_is_flat(entry, capsys):
    words = ["bench", "memory", "--hours", "0.5", "--model", str(entry), "--json"]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)["enhance"]
    assert figures["input_mb"] == pytest.approx(0.5 * 3600 * 32_000 / 1e6, rel=0.01)
    assert 50 < figures["peak_mb"] < 700
    assert figures["peak_mb"] - figures["imported_mb"] < 200
    assert figures["slope_mb_per_gb"] < 500


def test_speed_of_a_checkpoint(entry, capsys):
    assert main(["bench", "inference", "--model", str(entry), "--seconds", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["tiny"]
    assert figures["chunk_ms"] == 16.0
    assert 0 < figures["file"]
    assert 0 < figures["stream"]

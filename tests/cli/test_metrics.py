"""`rased metrics` lists every metric with what it needs."""

import json

from rased.cli import main
from rased.metrics import METRICS


def test_every_metric_is_listed_with_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(type(METRICS["distillmos"]), "packages", ("no-such-package",))
    assert main(["metrics", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(METRICS)
    assert rows["si-sdr"]["install"] == ""
    assert rows["distillmos"]["install"] == "pip install --no-deps no-such-package"
    assert rows["llr"]["direction"] == "lower"
    assert rows["wer"]["reference"] == "transcript"
    assert rows["wer"]["range"] == [0.0, None]
    assert rows["speaker-similarity"]["category"] == "identity"


def test_the_table_has_a_line_a_metric(capsys):
    assert main(["metrics"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(METRICS)]] == list(METRICS)
    assert any("16000" in line and "0 or more" in line for line in lines)

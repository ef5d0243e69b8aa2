"""What `rased models` shows of measurements belongs to the configurations as they are."""

import json

import pytest

from rased.cli import main
from rased.cli.bench import models as bench
from rased.errors import RasedError
from rased.machine import processor
from rased.models import figures
from rased.models.registry import list_models, model_config

MEASURED = figures.read()["measured"]
LEARNED = figures.read()["learned"]
HEAVY = {
    "cmgan",
    "demucs-offline",
    "frcrn",
    "fullsubnet",
    "fullsubnet-plus",
    "mp-senet",
    "semamba",
    "sepformer",
    "tf-gridnet",
}
"""More than 15 G products for a second of audio."""
AGAIN = "run: rased bench models --out rased/models/figures.json --model "


@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_row_is_of_this_configuration(name):
    assert name in list_models(), f"remove the row {name}: there is no such configuration"
    digest = figures.config_sha256(model_config(name))
    assert MEASURED[name]["config_sha256"] == digest, AGAIN + name
    assert figures.measured(name, model_config(name)) == MEASURED[name]
    assert MEASURED[name]["training_speed"] > 0
    assert 0 < MEASURED[name]["real_time_factor"]
    assert MEASURED[name]["memory_mb"] > 0
    assert {*MEASURED[name]} == {"config_sha256", "processor", *bench.FIGURES}, AGAIN + name
    assert MEASURED[name]["training_memory_mb_per_second"] > 0


@pytest.mark.parametrize("name", LEARNED)
def test_a_gain_is_of_this_configuration(name):
    assert name in list_models(), f"remove the row {name}: there is no such configuration"
    row, again = LEARNED[name], f"train {name} again: experiments/0013-box-by-box/README.md"
    assert row["config_sha256"] == figures.config_sha256(model_config(name)), again
    assert figures.learned(name, model_config(name)) == row
    assert figures.learned(name, {**model_config(name), "changed": True}) is None
    assert {*row} == {"si_sdr_gain", "pesq", "estoi", "steps", "config_sha256"}
    assert row["steps"] > 0
    assert -20 < row["si_sdr_gain"] < 20


def test_every_architecture_is_measured_but_for_the_heaviest():
    missing = {*list_models()} - {*MEASURED}
    assert missing <= HEAVY, AGAIN + " ".join(missing - HEAVY)


def test_figures_of_another_configuration_are_not_shown():
    name = next(iter(MEASURED))
    assert figures.measured(name, {**model_config(name), "changed": True}) is None
    assert figures.measured("unheard-of", {}) is None


def test_a_file_keeps_what_it_has_and_gets_what_it_lacks(tmp_path, monkeypatch, capsys):
    asked = []

    def forked(_, figure, name):
        if name == "gru-mask":
            asked.append(name)
            raise RasedError("no memory.")
        asked.append((name, figure))
        return dict.fromkeys(bench.PARTS[figure], 2.0)

    monkeypatch.setattr("rased.cli.bench.models.forked", forked)
    out = tmp_path / "figures.json"
    out.write_text(
        json.dumps({"parity": {"a": 1}, "measured": {"gtcrn": {"config_sha256": "old"}}})
    )
    words = ["bench", "models", "--out", str(out), "--model", "gtcrn", "fastenhancer-t", "gru-mask"]
    every = [(name, figure) for name in ("gtcrn", "fastenhancer-t") for figure in bench.PARTS]
    for _ in range(2):
        assert main(words) == 1  # one of them fails: its row is not written, and it is tried again
    assert asked == [*every, "gru-mask", "gru-mask"]
    written = figures.read(out)
    assert written["parity"] == {"a": 1}
    assert [*written["measured"]] == ["fastenhancer-t", "gtcrn"]
    for name, row in written["measured"].items():
        assert row.pop("config_sha256") == figures.config_sha256(model_config(name))
        assert row.pop("processor") == processor()
        assert row == dict.fromkeys(bench.FIGURES, 2.0)
    assert "1 of 1 measurements failed: gru-mask" in capsys.readouterr().err
    assert main([*words[:-1], "--again"]) == 0
    assert asked[len(every) + 2 :] == every


def test_a_row_gets_the_figures_that_it_lacks(tmp_path, monkeypatch):
    asked = []

    def forked(_, figure, name):
        asked.append(figure)
        return dict.fromkeys(bench.PARTS[figure], 2.0)

    monkeypatch.setattr("rased.cli.bench.models.forked", forked)
    digest = figures.config_sha256(model_config("gtcrn"))
    old = {"config_sha256": digest, "processor": processor(), "training_speed": 1.0}
    out = tmp_path / "figures.json"
    out.write_text(json.dumps({"measured": {"gtcrn": old}}))
    words = ["bench", "models", "--out", str(out), "--model", "gtcrn"]
    assert main(words) == 0
    assert asked == [bench.inference, bench.training_memory]
    wanted = {**dict.fromkeys(bench.FIGURES, 2.0), **old}
    assert figures.read(out)["measured"]["gtcrn"] == wanted
    out.write_text(json.dumps({"measured": {"gtcrn": {**wanted, "processor": "another"}}}))
    asked.clear()
    assert main(words) == 0
    assert asked == [*bench.PARTS]


@pytest.mark.filterwarnings("ignore")
def test_the_figures_of_an_architecture():
    found = bench.inference("fastenhancer-t", seconds=0.5)
    assert 0 < found["real_time_factor"] < 10
    assert found["memory_mb"] >= 0
    assert bench.training_speed("fastenhancer-t", batch_size=1, seconds=0.25, steps=1) > 0
    assert bench.training_memory("fastenhancer-t", (0.1, 0.2))["training_memory_mb_per_second"] >= 0

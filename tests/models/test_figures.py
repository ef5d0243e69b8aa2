"""What `rased models` shows of measurements belongs to the configurations as they are."""

import json

import pytest

from rased.cli import main
from rased.errors import RasedError
from rased.models import figures
from rased.models.registry import list_models, model_config

MEASURED = figures.read()["measured"]
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


def test_figures_of_another_configuration_are_not_shown():
    name = next(iter(MEASURED))
    assert figures.measured(name, {**model_config(name), "changed": True}) is None
    assert figures.measured("unheard-of", {}) is None


def test_a_file_keeps_what_it_has_and_gets_what_it_lacks(tmp_path, monkeypatch, capsys):
    asked = []

    def forked(function, name):
        asked.append(name)
        if name == "gru-mask":
            raise RasedError("no memory.")
        return {"training_speed": 2.0}

    monkeypatch.setattr("rased.cli.bench.models.forked", forked)
    out = tmp_path / "figures.json"
    out.write_text(
        json.dumps({"parity": {"a": 1}, "measured": {"gtcrn": {"config_sha256": "old"}}})
    )
    words = ["bench", "models", "--out", str(out), "--model", "gtcrn", "fastenhancer-t", "gru-mask"]
    for _ in range(2):
        assert main(words) == 1  # one of them fails: its row is not written, and it is tried again
    assert asked == ["gtcrn", "fastenhancer-t", "gru-mask", "gru-mask"]
    written = figures.read(out)
    assert written["parity"] == {"a": 1}
    assert [*written["measured"]] == ["fastenhancer-t", "gtcrn"]
    for name, row in written["measured"].items():
        digest = figures.config_sha256(model_config(name))
        assert row == {"config_sha256": digest, "training_speed": 2.0}
    assert "1 of 1 measurements failed: gru-mask" in capsys.readouterr().err
    assert main([*words[:-1], "--again"]) == 0
    assert asked[4:] == ["gtcrn", "fastenhancer-t"]


@pytest.mark.filterwarnings("ignore")
def test_the_figures_of_an_architecture():
    from rased.cli.bench.models import inference
    from rased.cli.bench.train import training_speed

    found = inference("fastenhancer-t", seconds=0.5)
    assert 0 < found["real_time_factor"] < 10
    assert found["memory_mb"] >= 0
    assert training_speed("fastenhancer-t", batch_size=1, seconds=0.25, steps=1) > 0

"""Runs read back from disk: list, differences, curves."""

import json

import pytest
import yaml

from rased.cli import main
from rased.errors import RasedError
from rased.training.runs import differences, draw_curves, list_runs, read_run

LOSS = {
    "class_path": "rased.losses.base.WeightedSum",
    "init_args": {
        "losses": [
            {"class_path": "rased.losses.waveform.SNR"},
            {
                "class_path": "rased.losses.spectral.OnSTFT",
                "init_args": {"loss": {"class_path": "rased.losses.spectral.LogPower"}},
            },
        ]
    },
}


def write_run(folder, *, lr, rows, loss=LOSS):
    folder.mkdir(parents=True)
    network = {"class_path": "rased.models.gru.NSNet2"}
    enhancer = {"class_path": "a.FrequencyDomainEnhancer", "init_args": {"network": network}}
    config = {"model": {"init_args": {"enhancer": enhancer, "loss": loss, "lr": lr}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if rows:
        head = "step,time,train/loss,epoch,valid/loss,valid/si_sdr\n"
        (folder / "metrics.csv").write_text(head + "".join(",".join(row) + "\n" for row in rows))


@pytest.fixture
def runs(tmp_path):
    rows = [
        ("9", "1000.0", "0.5", "0", "", ""),
        ("10", "1010.0", "", "0", "0.4", "7.5"),
        ("19", "9000.0", "0.3", "1", "", ""),
        ("20", "9020.0", "", "1", "0.6", "6.5"),
    ]
    write_run(tmp_path / "one", lr=1e-3, rows=rows)
    write_run(tmp_path / "two", lr=2e-3, rows=[], loss=None)
    return tmp_path


def test_what_a_run_was(runs):
    run = read_run(runs / "one")
    assert (run.model, run.loss, run.steps) == ("NSNet2", "SNR + LogPower", 21)
    assert run.seconds == 30.0  # the pause between two launches is not training
    assert run.best == {"valid/loss": 0.4, "valid/si_sdr": 7.5}
    assert run.curves["train/loss"] == ([9, 19], [0.5, 0.3])
    other = read_run(runs / "two")
    assert (other.loss, other.steps, other.best, other.state) == ("its own", 0, {}, "empty")


def test_distances_of_heads_are_best_when_lowest(runs):
    path = runs / "one" / "metrics.csv"
    path.write_text(path.read_text().replace("valid/si_sdr", "valid/heads/snr"))
    assert read_run(runs / "one").best["valid/heads/snr"] == 6.5


def test_list_and_differences(runs):
    found = {run.name: run for run in list_runs(runs)}
    assert set(found) == {"one", "two"}
    unlike = differences([found["one"], found["two"]])
    assert unlike["model.init_args.lr"] == ["0.001", "0.002"]
    assert not any("network" in name for name in unlike)


def test_curves_are_drawn(runs, tmp_path):
    found = list_runs(runs)
    drawn = draw_curves(found, tmp_path / "curves.png")
    assert drawn == ["train/loss", "valid/loss", "valid/si_sdr"]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(RasedError, match="no run has logged 'valid/los'"):
        draw_curves(found, tmp_path / "no.png", metrics=["valid/los"])


def test_the_verb(runs, capsys):
    assert main(["runs", "--runs", str(runs)]) == 0
    assert "SNR + LogPower" in capsys.readouterr().out
    assert main(["runs", "one", "two", "--runs", str(runs)]) == 0
    assert "settings that differ" in capsys.readouterr().out
    assert main(["runs", "one", "--runs", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["curves"]["valid/si_sdr"] == [
        [10, 20],
        [7.5, 6.5],
    ]
    assert main(["runs", "on", "--runs", str(runs)]) == 2
    assert "config.yaml is missing" in capsys.readouterr().err

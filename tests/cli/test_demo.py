import pytest

from rased.cli import demo, main


@pytest.fixture
def trained(monkeypatch):
    """Training that takes no time: records its words, leaves a run folder, gives an exit code."""
    calls = []
    codes = []

    def train(words):
        calls.append(words)
        folder = trained.out / demo.RUN
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_bytes(b"")
        return codes.pop() if codes else 0

    class trained:  # noqa: N801, a namespace
        out = None

    trained.calls, trained.codes = calls, codes
    monkeypatch.setattr("rased.cli.train.main", train)
    monkeypatch.setattr("rased.cli.demo._evaluate", lambda console, out: None)
    return trained


def test_the_demo_trains_once_resumes_and_skips(tmp_path, trained, capsys):
    trained.out = tmp_path / "demo"
    words = ["demo", "--out", str(trained.out), "--minutes", "1.5"]

    trained.codes.append(130)
    assert main(words) == 130
    assert f"To continue: rased demo --out {trained.out}" in capsys.readouterr().out
    assert "--resume" not in trained.calls[0]
    assert trained.calls[0][:6:2] == ["-c"] * 3
    assert trained.calls[0][1:6:2] == ["model/gru-mask", "loss/snr-compressed", "data/bundle"]

    assert main(words) == 0
    resumed = ["--resume", str(trained.out / demo.RUN), "--trainer.max_time", "00:00:01:30"]
    assert trained.calls[1] == resumed

    assert main(words) == 0
    assert len(trained.calls) == 2
    said = capsys.readouterr().out
    assert "is trained already" in said
    assert "What to try next" in said

    assert main([*words[:-1], "90"]) == 0
    assert trained.calls[2][-1] == "00:01:30:00"


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "100000"])
def test_a_time_that_is_none_is_refused(tmp_path, capsys, minutes):
    assert main(["demo", "--out", str(tmp_path), "--minutes", minutes]) == 2
    assert "is no time to train" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--minutes", "0.1"]) == 0
    said = capsys.readouterr().out
    for system in (*demo.SYSTEMS, demo.RUN):
        assert system in said
        assert (out / "results" / f"{system}--bundle.json").is_file()
    assert "<table" in (out / "index.html").read_text()
    assert len(list((out / "results" / "audio" / "bundle" / demo.RUN).glob("*.wav"))) == 30
    assert (out / demo.RUN / "metrics.csv").is_file()

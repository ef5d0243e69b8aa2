import pytest
import torch

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
    monkeypatch.setattr("rased.cli.demo._evaluate", lambda console, out, steps: None)
    return trained


def test_the_demo_trains_once_resumes_and_skips(tmp_path, trained, capsys):
    trained.out = tmp_path / "demo"
    words = ["demo", "--out", str(trained.out), "--steps", "30"]

    trained.codes.append(130)
    assert main(words) == 130
    assert f"To continue: rased demo --out {trained.out}" in capsys.readouterr().out
    assert trained.calls[0][:2] == ["--from", "gru-mask-16k"]
    assert trained.calls[0][trained.calls[0].index("--trainer.max_steps") + 1] == "30"

    assert main(words) == 0
    resumed = ["--resume", str(trained.out / demo.RUN), "--trainer.max_steps", "30"]
    assert trained.calls[1] == resumed

    last = trained.out / demo.RUN / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"global_step": 30}, last)
    assert main(words) == 0
    assert len(trained.calls) == 2
    said = capsys.readouterr().out
    assert "is trained already: 30 steps" in said
    assert "What to try next" in said

    assert main([*words[:-1], "90"]) == 0
    assert trained.calls[2][-1] == "90"


@pytest.mark.parametrize("steps", ["0", "-1"])
def test_a_budget_that_is_none_is_refused(tmp_path, capsys, steps):
    assert main(["demo", "--out", str(tmp_path), "--steps", steps]) == 2
    assert "--steps is" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--steps", "3"]) == 0
    said = capsys.readouterr().out
    for system in (*demo.SYSTEMS, demo.RUN):
        assert system in said
        assert (out / "results" / f"{system}--bundle.json").is_file()
    assert "<table" in (out / "index.html").read_text()
    assert len(list((out / "results" / "audio" / "bundle" / demo.RUN).glob("*.wav"))) == 154
    assert (out / demo.RUN / "metrics.csv").is_file()

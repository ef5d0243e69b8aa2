import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from rased import audio
from rased.cli import main
from rased.models.classical import METHODS


def noisy(seconds=2.0):
    generator = np.random.default_rng(1)
    samples = round(16_000 * seconds)
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(samples) / 16_000)
    return (tone + 0.05 * generator.standard_normal(samples)).astype(np.float32)[None]


def test_a_raw_stream_comes_out_aligned_and_as_long_as_it_went_in():
    steps = np.round(noisy(1.0) * 32768).clip(-32768, 32767).astype("<i2")
    done = subprocess.run(
        [sys.executable, "-m", "rased", "enhance", "-", "-o", "-", "--model", "log-mmse"],
        input=steps.tobytes(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    streamed = np.frombuffer(done.stdout, dtype="<i2")
    with torch.inference_mode():
        whole = METHODS["log-mmse"]().eval()(torch.from_numpy(steps.astype(np.float32) / 32768))
    np.testing.assert_allclose(streamed / 32768, whole[0].numpy(), atol=1e-4)


def test_the_report_as_json(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    audio.write(tmp_path / "in" / "a.wav", noisy(), 16_000)
    (tmp_path / "in" / "b.wav").write_text("no audio")
    words = ["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", "log-mmse"]
    assert main([*words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [row["output"] for row in report["files"]] == [str(tmp_path / "out" / "a.wav")]
    assert report["files"][0]["seconds"] == pytest.approx(2.0)
    assert report["files"][0]["real_time_factor"] > 0
    assert "b.wav' is not audio" in report["failures"][0]


def test_a_model_that_is_not_causal_cannot_stream(capsys):
    assert main(["enhance", "-", "-o", "-", "--model", "wpe"]) == 2
    assert "is not causal and cannot stream" in capsys.readouterr().err

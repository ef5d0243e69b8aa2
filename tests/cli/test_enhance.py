import io
import json
import sys
from types import SimpleNamespace

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


@pytest.fixture
def pipe(monkeypatch):
    """Runs `rased enhance - -o -` in this process; gives stdout."""

    def run(content, *words, code=0):
        out = io.BytesIO()
        monkeypatch.setattr(
            sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content)))
        )
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
            assert main(["enhance", "-", "-o", "-", "--model", "log-mmse", *words]) == code
        return out.getvalue()

    return run


def test_a_raw_stream_comes_out_aligned_and_as_long_as_it_went_in(pipe, capsys):
    steps = np.round(noisy(1.0) * 32768).clip(-32768, 32767).astype("<i2")
    streamed = np.frombuffer(pipe(steps.tobytes()), dtype="<i2")
    assert capsys.readouterr().err == ""
    with torch.inference_mode():
        whole = METHODS["log-mmse"]().eval()(torch.from_numpy(steps.astype(np.float32) / 32768))
    np.testing.assert_allclose(streamed / 32768, whole[0].numpy(), atol=1e-4)


def test_mono_floats_at_the_rate_of_the_model_come_without_a_warning(pipe, capsys):
    given = noisy(0.2)[0].astype("<f4")
    found = np.frombuffer(pipe(given.tobytes(), "--raw", "f32le", "--limit-db", "0"), "<f4")
    assert capsys.readouterr().err == ""
    np.testing.assert_allclose(found, given, atol=1e-6)


@pytest.mark.parametrize("name", ["s16le", "s16be", "s32le", "f32le", "f32be"])
def test_every_raw_format_rate_and_number_of_channels(pipe, name):
    dtype = np.dtype(
        ("<" if name.endswith("le") else ">") + {"s16": "i2", "s32": "i4", "f32": "f4"}[name[:3]]
    )
    full = 1.0 if dtype.kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
    given = np.stack([noisy(0.4)[0], 0.5 * noisy(0.4)[0]], axis=1)
    content = (given * full).astype(dtype).tobytes()
    words = ["--raw", name, "--rate", "48000", "--channels", "2", "--limit-db", "0"]
    found = np.frombuffer(pipe(content, *words), dtype).reshape(-1, 2) / full
    assert found.shape == given.shape
    np.testing.assert_allclose(found[2_000:-2_000], given[2_000:-2_000], atol=2e-3)


def test_a_cut_sample_at_the_end_is_said(pipe, capsys):
    assert len(pipe(bytes(2_001), code=1)) == 2_000
    assert "in the middle of a 16-bit sample" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_stream_in_another_format_is_not_called_the_fault_of_the_model(pipe, bad, capsys):
    given = np.append(noisy(0.1)[0], np.float32(bad)).astype("<f4")
    pipe(given.tobytes(), "--raw", "f32le", code=2)
    said = capsys.readouterr().err
    assert "stdin contains NaN or infinite samples" in said
    assert "--raw (s16le, s16be, s32le, f32le, f32be)" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--rate", "0"], "--rate"), (["--channels", "0"], "--channels"), (["--raw", "mp3"], "'mp3'")],
)
def test_raw_options_that_cannot_be_are_refused(pipe, capsys, words, said):
    assert pipe(b"", *words, code=2) == b""
    assert said in capsys.readouterr().err


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


@pytest.mark.parametrize(
    "content",
    [b"RIFF\x24\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0\2", b"ID3\4\0\0", b"RF64\xff"],
)
def test_a_file_on_stdin_is_refused_with_the_repair(pipe, content, capsys):
    assert pipe(content + bytes(2000), code=2) == b""
    said = capsys.readouterr().err
    assert "must contain raw 16-bit mono PCM" in said
    assert "ffmpeg -i FILE -f s16le -ac 1 -ar 16000" in said


def test_one_file_needs_neither_model_nor_output(tmp_path, capsys):
    audio.write(tmp_path / "x.wav", noisy(), 16_000)
    assert main(["enhance", str(tmp_path / "x.wav")]) == 0
    assert audio.inspect(tmp_path / "x.enhanced.wav").frames == 32_000
    assert "x.enhanced.wav" in capsys.readouterr().err
    assert main(["enhance", *map(str, sorted(tmp_path.glob("*.wav")))]) == 0
    assert "is skipped: it is the output of" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.enhanced.wav", "x.wav"]


def test_every_file_of_a_folder_is_done_or_named(tmp_path, capsys):
    root = tmp_path / "in["
    root.mkdir()
    names = [
        "a.WAV",
        "b.wave",
        "c.Flac",
        "d.aifc",
        "e.snd",
        "f.voc",
        "tag [x].wav",
        "b].wav",
        "caf\udce9.wav",
    ]
    whole = tmp_path / "whole.wav"
    audio.write(whole, noisy(0.3), 16_000)
    for name in names:
        (root / name).write_bytes(whole.read_bytes())
    for name in ("g.m4a", "h.raw", "i.wav"):
        (root / name).write_bytes(b"no audio")
    (root / "j.wav").symlink_to("nowhere")
    (root / "notes.txt").write_text("no audio either")
    words = ["enhance", str(root), "-o", str(tmp_path / "out["), "--model", "log-mmse"]
    assert main(words) == 1
    said = capsys.readouterr().err
    written = {path.name for path in (tmp_path / "out[").iterdir()} - {".enhanced.jsonl"}
    assert len(written) == len(names)
    assert "4 of 13 files could not be enhanced" in said
    for name in ("g.m4a", "h.raw", "i.wav", "j.wav", "tag [x].wav", "b].wav", "caf\\xe9.wav"):
        assert name in said


def test_what_the_rate_of_the_model_takes_away_is_one_line(tmp_path, capsys):
    for name in "ab":
        audio.write(tmp_path / "in" / f"{name}.wav", noisy(0.2), 48_000)
    words = ["enhance", str(tmp_path / "in"), "-o", str(tmp_path / "o"), "-m", "log-mmse"]
    assert main(words) == 0
    assert capsys.readouterr().err.count("above 8000 Hz, this 48000 Hz file follows") == 1
    assert main([*words, "--band", "model"]) == 0
    assert capsys.readouterr().err.count("no content above 8000 Hz") == 1


def test_one_output_for_two_inputs_is_refused(tmp_path, capsys):
    for name in "ab":
        audio.write(tmp_path / f"{name}.wav", noisy(0.2), 16_000)
    both = tmp_path / "both.wav"
    inputs = [str(tmp_path / f"{name}.wav") for name in "ab"]
    assert main(["enhance", *inputs, "-o", str(both), "-m", "log-mmse"]) == 2
    assert "is the name of a file, but the input is 2 inputs" in capsys.readouterr().err
    assert not both.exists()


def test_the_limit_of_the_attenuation_is_an_option(tmp_path, capsys):
    audio.write(tmp_path / "a.wav", noisy(0.5), 16_000)
    source = str(tmp_path / "a.wav")
    assert main(["enhance", source, "-m", "log-mmse", "--limit-db", "0"]) == 0
    found, given = (audio.read(tmp_path / name)[0] for name in ("a.enhanced.wav", "a.wav"))
    np.testing.assert_allclose(found, given, atol=1e-4)
    capsys.readouterr()
    assert main(["enhance", source, "-m", "log-mmse", "--limit-db", "-3"]) == 2
    assert "give decibels of at least 0" in capsys.readouterr().err

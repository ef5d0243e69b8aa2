import numpy as np
import pytest
import soundfile
import torch

from rased import audio
from rased.errors import RasedError
from rased.files import enhance
from rased.models.base import Enhancer, Prediction, SpectralEnhancer, SpectralPrediction
from rased.signal.stft import STFT


class Identity(SpectralEnhancer):
    """Gives what it gets, through the STFT and block by block."""

    def __init__(self):
        super().__init__(stft=STFT())

    def process(self, spectrum, state):
        return SpectralPrediction(spectrum), state


class Broken(Enhancer):
    def predict(self, noisy):
        return Prediction(noisy * torch.nan)


def tone(seconds, sample_rate, channels=1):
    time = np.arange(max(1, round(seconds * sample_rate))) / sample_rate
    tones = np.array([[440.0], [700.0], [1000.0]])[:channels]
    return (0.3 * np.sin(2 * np.pi * tones * time)).astype(np.float32)


def sd_ratio(estimate, target):
    return 10 * np.log10((target**2).sum() / ((estimate - target) ** 2).sum())


@pytest.mark.parametrize("coding", ["PCM_16", "PCM_24", "FLOAT"])
def test_an_enhancer_that_changes_nothing_gives_the_file_back(tmp_path, coding):
    source = tone(19.7, 16_000, channels=2)
    audio.write(tmp_path / "in.wav", source, 16_000, coding=coding)
    report = enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=Identity())
    before, _ = audio.read(tmp_path / "in.wav")
    after, _ = audio.read(tmp_path / "out.wav")
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, atol=0 if coding == "PCM_16" else 1e-6)
    assert audio.inspect(tmp_path / "out.wav").subtype == coding
    assert report.seconds == pytest.approx(19.7)
    assert report.real_time_factor > 0


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_any_rate_comes_back_with_its_length_and_without_delay(tmp_path, sample_rate, suffix):
    source = tone(1.237, sample_rate, channels=3)
    audio.write(tmp_path / f"in{suffix}", source, sample_rate)
    enhance(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", model=Identity())
    after, rate = audio.read(tmp_path / f"out{suffix}")
    assert (after.shape, rate) == (source.shape, sample_rate)
    inner = slice(sample_rate // 10, -sample_rate // 10)
    assert sd_ratio(after[:, inner], source[:, inner]) > 50


@pytest.mark.parametrize("length", [1, 2, 100])
@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 192_000])
def test_the_shortest_files_keep_their_length(tmp_path, length, sample_rate):
    audio.write(tmp_path / "in.wav", np.full((1, length), 0.25, np.float32), sample_rate)
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=Identity())
    assert audio.read(tmp_path / "out.wav")[0].shape == (1, length)


def test_8_bits_come_back_as_16(tmp_path):
    soundfile.write(tmp_path / "in.wav", tone(0.5, 16_000).T, 16_000, subtype="PCM_U8")
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=Identity())
    assert audio.inspect(tmp_path / "out.wav").subtype == "PCM_16"
    np.testing.assert_array_equal(
        audio.read(tmp_path / "out.wav")[0], audio.read(tmp_path / "in.wav")[0]
    )


def test_a_lossy_file_keeps_its_length(tmp_path):
    audio.write(tmp_path / "in.mp3", tone(3.3, 44_100), 44_100)
    enhance(tmp_path / "in.mp3", tmp_path / "out.flac", model=Identity())
    before, _ = audio.read(tmp_path / "in.mp3")
    after, _ = audio.read(tmp_path / "out.flac")
    assert after.shape == before.shape
    assert sd_ratio(after, before) > 30


def test_a_model_that_gives_nan_writes_nothing(tmp_path):
    audio.write(tmp_path / "in.wav", tone(0.5, 16_000), 16_000)
    with pytest.raises(RasedError, match="Broken gave values that are not finite"):
        enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=Broken())
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_the_input_is_never_the_output(tmp_path):
    path = tmp_path / "in.wav"
    audio.write(path, tone(0.5, 16_000), 16_000)
    before = path.read_bytes()
    (tmp_path / "link.wav").symlink_to(path)
    for output in (path, tmp_path / "link.wav"):
        with pytest.raises(RasedError, match="is the input"):
            enhance(path, output, model=Identity())
    assert path.read_bytes() == before

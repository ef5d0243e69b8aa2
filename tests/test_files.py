import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import rased
from rased import audio
from rased.cli import enhance as cli_enhance
from rased.errors import RasedError
from rased.files import enhance, enhanced_blocks, resolve
from rased.models.base import Enhancer, Prediction, SpectralEnhancer
from rased.models.classical import METHODS
from rased.models.limited import limited
from rased.shelves import DEFAULT_MODEL
from rased.signal.stft import STFT


class Identity(SpectralEnhancer):
    """Gives what it gets, through the STFT and block by block."""

    def __init__(self):
        super().__init__(stft=STFT())

    def process(self, spectrum, state):
        return Prediction.of_spectrum(spectrum), state


class Mute(Enhancer):
    def predict(self, noisy):
        return Prediction(torch.zeros_like(noisy))


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
    with pytest.raises(RasedError, match="Broken returned values that are not finite"):
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


def test_an_array_comes_back_as_it_was_given():
    waveform = tone(0.7, 44_100, channels=2)
    with torch.inference_mode():
        expected, _ = enhanced_as_file(waveform, 44_100)
    for given in (waveform, waveform.astype(np.float64), torch.from_numpy(waveform)):
        found = rased.enhance(given, 44_100, model=Identity())
        assert type(found) is type(given)
        assert (found.dtype, tuple(found.shape)) == (given.dtype, tuple(given.shape))
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)
    alone = rased.enhance(waveform[0], sample_rate=44_100, model=Identity())
    np.testing.assert_array_equal(alone, rased.enhance(waveform[:1], 44_100, model=Identity())[0])


def enhanced_as_file(waveform, sample_rate):
    info = audio.AudioInfo(Path("x"), sample_rate, waveform.shape[0], None, "", "")
    return np.concatenate(list(enhanced_blocks(Identity(), [waveform], info)), axis=1), sample_rate


@pytest.mark.parametrize(
    ("given", "rate", "said"),
    [
        (np.zeros(100, np.int16), 16_000, "divide 16-bit samples by 32768"),
        (np.zeros((1000, 2)), 16_000, r"transpose one of shape \(time, channel\)"),
        (np.zeros((1, 2, 3)), 16_000, r"has the shape \(1, 2, 3\)"),
        (np.zeros(0), 16_000, "at least one sample"),
        (np.full(9, np.nan), 16_000, "NaN or infinite"),
        (np.zeros(9), None, "give it in Hz"),
        (np.zeros(9), 5, "allowed are 1000 to 768000"),
        ([0.0, 1.0], 16_000, "give the name of a file, a NumPy array"),
        ("a.wav", 16_000, "remove the argument `sample_rate`"),
    ],
)
def test_arrays_that_cannot_be_enhanced_are_refused_with_the_repair(given, rate, said):
    with pytest.raises(RasedError, match=said):
        rased.enhance(given, rate, model=Identity())


def test_an_enhancer_takes_one_signal_or_a_batch_and_says_what_else_it_got():
    enhancer = Identity().eval()
    batch = torch.from_numpy(tone(0.2, 16_000, channels=2))
    torch.testing.assert_close(enhancer(batch[0]), enhancer(batch)[0])
    for given, said in (
        (torch.zeros(1, 2, 3), r"not the shape \(1, 2, 3\)"),
        (torch.zeros(0), r"not the shape \(0,\)"),
        (torch.zeros(10, dtype=torch.int16), "not torch.int16"),
    ):
        with pytest.raises(RasedError, match=said):
            enhancer(given)


def test_without_an_output_the_file_is_written_beside_its_input(tmp_path):
    audio.write(tmp_path / "a b.mp3", tone(0.5, 16_000), 16_000)
    report = enhance(tmp_path / "a b.mp3", model=Identity())
    assert report.output == tmp_path / "a b.enhanced.flac"
    assert audio.inspect(report.output).sample_rate == 16_000


def test_the_default_model_is_in_the_zoo():
    assert DEFAULT_MODEL in rased.list_checkpoints()
    assert cli_enhance.DEFAULT_MODEL == DEFAULT_MODEL


def test_what_a_lower_rate_takes_away_is_said(tmp_path):
    for rate in (16_000, 48_000):
        audio.write(tmp_path / "a.wav", tone(0.3, rate), rate)
        notes = enhance(tmp_path / "a.wav", tmp_path / "b.wav", model=Identity()).notes
        said = (
            "the model works at 16000 Hz: above 8000 Hz, this 48000 Hz file follows the gain of the model's highest "
            "band"
        )
        assert notes == ((said,) if rate == 48_000 else ())
    notes = enhance(tmp_path / "a.wav", tmp_path / "b.wav", model=Identity(), band="model").notes
    said = (
        "the model works at 16000 Hz: the output of this 48000 Hz file has no content above 8000 Hz"
    )
    assert notes == (said,)


def test_a_file_of_a_higher_rate_keeps_its_upper_band(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 30_000)).astype(np.float32)
    audio.write(tmp_path / "in.wav", noise, 48_000, coding="FLOAT")
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=Identity())
    found = audio.read(tmp_path / "out.wav")[0]
    np.testing.assert_allclose(found[:, 3_000:-3_000], noise[:, 3_000:-3_000], atol=2e-4)
    dull = enhance(noise, 48_000, model=Identity(), band="model")
    assert sd_ratio(dull, noise) < 3


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".ogg", ".mp3"])
def test_the_share_of_clipped_samples_is_said(tmp_path, suffix):
    loud = 2 * np.sign(tone(1.0, 16_000))
    audio.write(tmp_path / "hot.wav", loud, 16_000, coding="FLOAT")
    report = enhance(tmp_path / "hot.wav", tmp_path / f"out{suffix}", model=Identity())
    if suffix == ".wav":
        assert report.notes == ()
        np.testing.assert_allclose(audio.read(report.output)[0], loud, atol=1e-5)
    else:
        (note,) = report.notes
        assert note.startswith("100 % of its samples exceed full scale and were clipped")
        assert "write a .wav file, which can hold them" in note


def test_full_scale_itself_is_not_called_clipped(tmp_path):
    audio.write(tmp_path / "a.wav", np.sign(tone(0.3, 16_000)), 16_000)
    assert enhance(tmp_path / "a.wav", tmp_path / "b.wav", model=Identity()).notes == ()


def test_names_that_fill_255_bytes_are_written(tmp_path):
    audio.write(tmp_path / "in.wav", tone(0.2, 16_000), 16_000)
    name = "n" * 251 + ".wav"
    enhance(tmp_path / "in.wav", tmp_path / name, model=Identity())
    assert audio.inspect(tmp_path / name).frames == 3_200


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    code = (
        "import os, sys, signal, numpy as np; from rased import audio\n"
        "writer = audio.AudioWriter(sys.argv[1], sample_rate=16000, channels=1)\n"
        "writer.write(np.zeros((1, 1000), np.float32)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "out.wav"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with audio.AudioWriter(target, sample_rate=16_000, channels=1) as first:
        first.write(tone(0.1, 16_000))
        audio.write(target, tone(0.2, 16_000), 16_000)
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    assert audio.inspect(target).frames == 1_600


def unusual_signals():
    generator = np.random.default_rng(0)
    return {
        "one sample": np.full(1, 0.5),
        "two samples": np.array([0.5, -0.5]),
        "100 samples": 0.1 * generator.standard_normal(100),
        "zeros": np.zeros(9_000),
        "constant": np.full(9_000, 0.3),
        "clipped": np.sign(generator.standard_normal(9_000)),
        "one click": np.eye(1, 9_000, 4_000)[0],
        "tiny": 1e-30 * generator.standard_normal(9_000),
    }


@pytest.mark.parametrize("model", [*METHODS, DEFAULT_MODEL])
def test_unusual_signals_keep_their_length_and_stay_finite(tmp_path, model):
    enhancer = resolve(model)
    for name, signal in unusual_signals().items():
        waveform = signal.astype(np.float32)[None]
        audio.write(tmp_path / "in.wav", waveform, 16_000, coding="FLOAT")
        enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=enhancer)
        found = audio.read(tmp_path / "out.wav")[0]
        assert found.shape == waveform.shape, name
        assert np.isfinite(found).all(), name
        if name == "zeros":
            assert not found.any()


@pytest.mark.parametrize("model", ["log-mmse", DEFAULT_MODEL])
def test_an_odd_number_of_float_samples_in_stereo_keeps_its_end(tmp_path, model):
    generator = np.random.default_rng(2)
    waveform = (0.1 * generator.standard_normal((2, 202_507))).astype(np.float32)
    audio.write(tmp_path / "in.wav", waveform, 44_100, coding="FLOAT")
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=model)
    info = audio.inspect(tmp_path / "out.wav")
    assert (info.frames, info.channels, info.subtype) == (202_507, 2, "FLOAT")
    assert np.abs(audio.read(tmp_path / "out.wav")[0][:, -50:]).max() > 0


@pytest.mark.parametrize(
    ("suffix", "rate"),
    [(".mp3", 44_100), (".ogg", 44_100), (".flac", 44_100), (".opus", 48_000), (".opus", 16_000)],
)
def test_a_lossy_output_keeps_length_and_place(tmp_path, suffix, rate):
    generator = np.random.default_rng(3)
    waveform = generator.standard_normal((2, rate))
    waveform += np.roll(waveform, 1, axis=1) + np.roll(waveform, 2, axis=1)
    waveform = (0.05 * waveform).astype(np.float32)
    audio.write(tmp_path / "in.wav", waveform, rate)
    enhance(tmp_path / "in.wav", tmp_path / f"out{suffix}", model=Identity())
    found = audio.read(tmp_path / f"out{suffix}")[0]
    assert found.shape == waveform.shape
    product = np.fft.irfft(np.fft.rfft(found[0]) * np.fft.rfft(waveform[0]).conj())
    assert np.argmax(product) == 0


@pytest.mark.parametrize(
    ("container", "coding"),
    [
        *(("WAV", coding) for coding in ("ALAW", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
        *(("WAV", coding) for coding in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        *((container, "PCM_24") for container in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")),
    ],
)
def test_every_coding_comes_back_with_its_length_and_at_least_16_bits(tmp_path, container, coding):
    path = tmp_path / "in.wav"
    soundfile.write(path, tone(0.5, 16_000)[0], 16_000, format=container, subtype=coding)
    enhance(path, tmp_path / "out.wav", model=Identity())
    before, after = audio.inspect(path), audio.inspect(tmp_path / "out.wav")
    assert (after.frames, after.channels) == (before.frames, 1)
    wide = coding in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
    assert after.subtype == (coding if wide else "PCM_16")


def test_the_limit_of_the_attenuation_holds_for_arrays_and_files(tmp_path):
    waveform = tone(0.4, 16_000)
    audio.write(tmp_path / "in.wav", waveform, 16_000, coding="FLOAT")
    model = limited(Mute(), 20.0)
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=Mute(), limit_db=20.0)
    for found in (
        audio.read(tmp_path / "out.wav")[0],
        enhance(waveform, 16_000, model=Mute(), limit_db=20.0),
        enhance(waveform, 16_000, model=model),
    ):
        np.testing.assert_allclose(found, 0.1 * waveform, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
def test_a_file_with_a_limit_of_zero_keeps_every_sample(tmp_path, rate):
    given = np.concatenate([tone(0.3, rate), -tone(0.3, rate)[:, ::-1]])
    given += np.random.default_rng(0).normal(0, 0.05, given.shape).astype(np.float32)
    audio.write(tmp_path / "in.wav", given, rate)
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model="gtcrn-tuned-16k", limit_db=0.0)
    before, after = (audio.read(tmp_path / name)[0] for name in ("in.wav", "out.wav"))
    np.testing.assert_array_equal(after, before)

import numpy as np
import pytest
import soundfile
import soxr

from rased import audio
from rased.errors import RasedError


def tone(seconds=0.5, sample_rate=16_000, channels=1, frequency=440.0):
    time = np.arange(max(1, round(seconds * sample_rate))) / sample_rate
    phase = 2 * np.pi * frequency * time[None] + np.arange(channels)[:, None]
    return (0.3 * np.sin(phase)).astype(np.float32)


@pytest.mark.parametrize("suffix", sorted(audio.FORMATS))
def test_every_format_keeps_rate_length_channels_and_level(tmp_path, suffix):
    sample_rate = 48_000 if suffix == ".opus" else 44_100
    source = tone(1.0, sample_rate, channels=2)
    path = tmp_path / f"tone{suffix}"
    audio.write(path, source, sample_rate)
    info = audio.inspect(path)
    read, rate = audio.read(path)
    assert (info.sample_rate, info.channels, rate) == (sample_rate, 2, sample_rate)
    assert read.shape == source.shape
    level = 20 * np.log10(np.sqrt(np.mean(read**2)) / np.sqrt(np.mean(source**2)))
    assert abs(level) < (0.5 if suffix in audio.LOSSY else 0.01)


@pytest.mark.parametrize("coding", ["PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_reading_and_writing_again_changes_no_sample(tmp_path, coding):
    generator = np.random.default_rng(3)
    noise = generator.uniform(-1, 1, (2, 5000))
    soundfile.write(tmp_path / "a.wav", noise.T, 16_000, subtype=coding)
    read, rate = audio.read(tmp_path / "a.wav")
    audio.write(tmp_path / "b.wav", read, rate, coding=coding)
    first, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    second, _ = soundfile.read(tmp_path / "b.wav", dtype="float32")
    np.testing.assert_array_equal(first, second)


def test_rounding_is_unbiased_and_clipping_stays_at_full_scale(tmp_path):
    ramp = np.linspace(-1.2, 1.2, 100_001, dtype=np.float32)[None]
    audio.write(tmp_path / "ramp.wav", ramp, 16_000)
    steps, _ = soundfile.read(tmp_path / "ramp.wav", dtype="int16")
    assert (steps.min(), steps.max()) == (-32768, 32767)
    inside = np.abs(ramp[0]) < 0.99
    error = steps[inside] - ramp[0, inside].astype(np.float64) * 32768
    assert abs(error.mean()) < 0.01
    assert np.abs(error).max() <= 0.5


@pytest.mark.parametrize(
    ("source", "wanted"), [(44_100, 16_000), (16_000, 44_100), (8_000, 16_000), (192_000, 16_000)]
)
@pytest.mark.parametrize("length", [1, 7, 1000, 44_101])
def test_resampling_a_stream_equals_resampling_the_whole(source, wanted, length):
    generator = np.random.default_rng(length)
    whole = generator.standard_normal((2, length)).astype(np.float32)
    resampler = audio.Resampler(source, wanted, 2)
    cuts = np.sort(generator.integers(0, length + 1, 5))
    parts = [resampler.push(part) for part in np.split(whole, cuts, axis=1)]
    joined = np.concatenate([*parts, resampler.finish()], axis=1)
    assert joined.shape[1] == audio.resampled_length(length, source, wanted)
    np.testing.assert_array_equal(joined, audio.resample(whole, source, wanted))
    reference = soxr.resample(whole.T.copy(order="C"), source, wanted).T
    shared = min(joined.shape[1], reference.shape[1])
    np.testing.assert_allclose(joined[:, :shared], reference[:, :shared], atol=1e-6)


def test_resampling_there_and_back_gives_the_same_length_and_signal_without_delay():
    source = tone(1.0, 44_100, channels=2)
    there = audio.resample(source, 44_100, 16_000)
    resampler = audio.Resampler(16_000, 44_100, 2)
    back = np.concatenate([resampler.push(there), resampler.finish(source.shape[1])], axis=1)
    assert back.shape == source.shape
    np.testing.assert_allclose(back[:, 2000:-2000], source[:, 2000:-2000], atol=2e-3)


def test_blocks_are_the_file_in_pieces(tmp_path):
    source = tone(1.03, 22_050, channels=3)
    audio.write(tmp_path / "a.flac", source, 22_050)
    pieces = list(audio.blocks(tmp_path / "a.flac", seconds=0.1))
    assert [piece.shape[1] for piece in pieces[:-1]] == [2205] * 10
    np.testing.assert_array_equal(
        np.concatenate(pieces, axis=1), audio.read(tmp_path / "a.flac")[0]
    )


def test_one_sample_can_be_read_resampled_and_written(tmp_path):
    audio.write(tmp_path / "one.wav", np.full((1, 1), 0.5, dtype=np.float32), 48_000)
    read, rate = audio.read(tmp_path / "one.wav", sample_rate=16_000)
    assert (read.shape, rate) == ((1, 1), 16_000)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_file(kind, folder):
    path = folder / "bad.flac"
    audio.write(path, tone(2.0), 16_000)
    if kind == "missing":
        path.unlink()
    elif kind == "folder":
        path = folder
    elif kind == "not audio":
        path.write_text("once upon a time")
    elif kind == "0 bytes":
        path.write_bytes(b"")
    elif kind == "no samples":
        path = folder / "none.wav"
        soundfile.write(path, np.zeros((0, 1)), 16_000)
    elif kind in ("NaN", "infinite"):
        path = folder / "nan.wav"
        broken = tone(2.0)
        broken[0, 16_000] = np.nan if kind == "NaN" else np.inf
        audio.write(path, broken, 16_000, coding="FLOAT")
    elif kind == "truncated FLAC":
        truncated(path)
    elif kind == "truncated WAV":
        path = folder / "short.wav"
        audio.write(path, tone(2.0), 16_000)
        truncated(path)
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("not audio", "is not audio"),
        ("0 bytes", "is empty"),
        ("no samples", "has no samples"),
        ("NaN", r"NaN or infinite samples \(the first at 1\.000 s\)"),
        ("infinite", r"NaN or infinite samples \(the first at 1\.000 s\)"),
        ("truncated FLAC", "is truncated or damaged: after"),
        (
            "truncated WAV",
            "is truncated: its header announces 64000 bytes of audio, but the file has 31978",
        ),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, kind, said):
    path = bad_file(kind, tmp_path)
    with pytest.raises(RasedError, match=said) as caught:
        audio.read(path)
    assert str(caught.value).count(f"'{path}'") == 1
    assert ".." not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wav_written_to_a_pipe_is_read_to_its_end(tmp_path):
    path = tmp_path / "piped.wav"
    audio.write(path, tone(1.0), 16_000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(content))
    assert audio.read(path)[0].shape == (1, 16_000)


def test_a_failed_write_leaves_the_older_file_as_it_was(tmp_path):
    path = tmp_path / "out.wav"
    audio.write(path, tone(0.1), 16_000)
    before = path.read_bytes()

    def fail_half_way():
        with audio.AudioWriter(path, sample_rate=16_000, channels=1) as writer:
            writer.write(tone(1.0))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.wav"]


@pytest.mark.parametrize("bits", [("PCM_U8", "PCM_16"), ("PCM_24", "PCM_24"), ("ULAW", "PCM_16")])
def test_the_output_keeps_the_bits_of_the_input_and_never_fewer_than_16(tmp_path, bits):
    coding, wanted = bits
    soundfile.write(tmp_path / "in.wav", tone()[0], 16_000, subtype=coding)
    info = audio.inspect(tmp_path / "in.wav")
    assert audio.output_coding(tmp_path / "out.wav", info) == ("WAV", wanted)


@pytest.mark.parametrize(
    ("coding", "name", "wanted"),
    [
        ("FLOAT", "out.flac", ("FLAC", "PCM_24")),
        ("PCM_24", "out.flac", ("FLAC", "PCM_24")),
        ("PCM_16", "out.ogg", ("OGG", "VORBIS")),
        ("FLOAT", "OUT.WAV", ("WAV", "FLOAT")),
    ],
)
def test_the_name_of_the_output_says_the_container(tmp_path, coding, name, wanted):
    soundfile.write(tmp_path / "in.wav", tone()[0], 16_000, subtype=coding)
    assert audio.output_coding(tmp_path / name, audio.inspect(tmp_path / "in.wav")) == wanted


@pytest.mark.parametrize(
    ("name", "channels", "said"),
    [
        ("out.txt", 1, "is not a known format"),
        ("out", 1, "is not a known format"),
        ("out.flac", 9, "does not support 9 channels"),
        ("out.opus", 1, "does not support 1 channels at 44100 Hz"),
    ],
)
def test_an_output_that_cannot_hold_the_audio_is_refused(tmp_path, name, channels, said):
    with pytest.raises(RasedError, match=said) as caught:
        audio.write(tmp_path / name, tone(0.1, 44_100, channels), 44_100)
    assert "<" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_output_is_kept(tmp_path):
    path = tmp_path / "out.wav"
    audio.write(path, tone(0.1), 16_000)
    before = path.read_bytes()
    path.chmod(0o444)
    with pytest.raises(RasedError, match="exists and is read-only"):
        audio.write(path, tone(0.2), 16_000)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".ogg", ".flac"])
def test_millions_of_samples_are_written_at_once(tmp_path, suffix):
    """libsndfile's Vorbis encoder crashes the process where it gets them in one piece."""
    signal = np.tile(tone(1.0, 16_000), 400)
    audio.write(tmp_path / f"long{suffix}", signal, 16_000)
    assert audio.inspect(tmp_path / f"long{suffix}").frames == signal.shape[1]


def test_a_writer_loses_nothing_without_a_word(tmp_path, monkeypatch):
    """A failure of libsndfile that is not that of the disk."""

    def fails(*_):
        raise soundfile.LibsndfileError(1)

    def spoilt():
        with audio.AudioWriter(tmp_path / "a.wav", sample_rate=16_000, channels=1) as writer:
            monkeypatch.setattr(writer._file, "write", fails)
            writer.write(tone(0.1))

    with pytest.raises(soundfile.LibsndfileError):
        spoilt()
    assert list(tmp_path.iterdir()) == []

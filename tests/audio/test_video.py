"""Videos: the picture is copied packet by packet, the audio replaced in its place."""

import subprocess

import numpy as np
import pytest

from rased import audio
from rased.audio.ffmpeg import available
from rased.errors import RasedError
from rased.files import enhance
from rased.models.base import Enhancer, Prediction

pytestmark = pytest.mark.skipif(not available(), reason="needs ffmpeg")


class Half(Enhancer):
    sample_rate = 48_000

    def predict(self, noisy):
        return Prediction(0.5 * noisy)


def ffmpeg(*words):
    return subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *map(str, words)],
        check=True,
        capture_output=True,
    ).stdout


CODINGS = {
    ".mp4": ("mpeg4", "aac"),
    ".mov": ("mpeg4", "aac"),
    ".mkv": ("mpeg4", "flac"),
    ".webm": ("libvpx", "libopus"),
    ".avi": ("mpeg4", "pcm_s16le"),
}


def film(path, sound=True, late=0.0):
    """Half a second of a test picture with a click at 0.2 s of the audio."""
    video, coding = CODINGS[path.suffix]
    click = np.zeros((1, 24_000), np.float32)
    click[:, 9_600:9_700] = 0.5
    audio.write(path.with_name("click.wav"), click, 48_000)
    words = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=0.5"]
    if sound:
        words += ["-itsoffset", late, "-i", path.with_name("click.wav"), "-c:a", coding]
    ffmpeg(*words, "-c:v", video, "-metadata", "title=Talk", path)
    return path


def packets(path):
    """Size and hash of each packet of the picture; a WebM shifts all times by the delay of Opus."""
    rows = ffmpeg("-i", path, "-map", "0:V", "-c", "copy", "-f", "framemd5", "-").splitlines()
    return [row.split(b",")[-2:] for row in rows if not row.startswith(b"#")]


@pytest.mark.parametrize("suffix", CODINGS)
def test_the_picture_is_copied_and_the_audio_replaced(tmp_path, suffix):
    source = film(tmp_path / f"film{suffix}")
    report = enhance(source, model=Half())
    assert report.output == tmp_path / f"film.enhanced{suffix}"
    assert packets(report.output) == packets(source)
    before, after = audio.read(source)[0], audio.read(report.output)[0]
    assert abs(np.abs(before[0]).argmax() - np.abs(after[0]).argmax()) < 100
    loud = slice(9_300, 10_000)
    ratio = np.square(after[0, loud]).sum() / np.square(before[0, loud]).sum()
    assert 10 * np.log10(ratio) == pytest.approx(-6, abs=1)
    assert b"Talk" in ffmpeg("-i", report.output, "-f", "ffmetadata", "-")


def test_audio_that_begins_later_stays_there(tmp_path):
    source = film(tmp_path / "film.mkv", late=0.25)
    output = enhance(source, model=Half()).output

    def place(path):
        ffmpeg("-i", path, "-af", "aresample=async=1:first_pts=0", tmp_path / "all.wav")
        return int(np.abs(audio.read(tmp_path / "all.wav")[0][0]).argmax())

    assert place(source) > 20_000
    assert abs(place(output) - place(source)) < 100


def test_in_a_folder_a_video_stays_one_and_audio_alone_becomes_flac(tmp_path):
    (tmp_path / "in").mkdir()
    film(tmp_path / "in" / "a.mp4")
    ffmpeg("-i", tmp_path / "in" / "click.wav", "-c:a", "aac", tmp_path / "in" / "b.mp4")
    pairs = audio.plan([tmp_path / "in"], tmp_path / "out").pairs
    assert [target.name for _, target in pairs] == ["a.mp4", "b.flac", "click.wav"]


def test_a_video_without_audio_or_into_an_unknown_suffix_is_refused(tmp_path):
    source = film(tmp_path / "film.mp4", sound=False)
    with pytest.raises(RasedError, match=r"no audio in it|cannot be read"):
        enhance(source, model=Half())
    with pytest.raises(RasedError, match="not a known format"):
        enhance(film(tmp_path / "film.mkv"), tmp_path / "film.xyz", model=Half())
    assert {path.name for path in tmp_path.iterdir()} == {"film.mp4", "film.mkv", "click.wav"}


def test_a_codec_that_the_container_cannot_hold_is_said_and_nothing_remains(tmp_path):
    source = film(tmp_path / "film.mkv")
    with pytest.raises(RasedError, match=r"ffmpeg says: .*try a \.mkv file"):
        enhance(source, tmp_path / "film.webm", model=Half())
    assert {path.name for path in tmp_path.iterdir()} == {"film.mkv", "click.wav"}


def test_without_ffmpeg_no_video_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("rased.audio.video.available", lambda: False)
    with pytest.raises(RasedError, match="needs ffmpeg, which is not installed"):
        audio.VideoWriter(tmp_path / "a.mp4", tmp_path / "b.mp4", sample_rate=16_000, channels=1)
    assert list(tmp_path.iterdir()) == []


def test_the_audio_of_a_video_alone_is_written_to_an_audio_file(tmp_path):
    report = enhance(film(tmp_path / "film.mp4"), tmp_path / "out.wav", model=Half())
    assert audio.inspect(report.output).sample_rate == 48_000

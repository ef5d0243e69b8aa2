"""What is whole is read to its last sample, what is cut or damaged is refused; every command judges alike."""

import io
import os
import random
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from rased import audio
from rased.data.preparation.waveform import decode
from rased.errors import RasedError
from rased.evaluation.testset import read_audio
from rased.files import enhance
from rased.models.base import Enhancer, Prediction
from tests.audio import material
from tests.audio.material import LENGTH, RATE, UNKNOWING, WHOLE, bursts, damaged, encoded, replaced

KNOWING = sorted(set(WHOLE) - UNKNOWING)


class Same(Enhancer):
    """Gives what it gets."""

    def predict(self, noisy):
        return Prediction(noisy)


def written(folder, name, data):
    path = folder / f"file{material.ending(name)}"
    path.write_bytes(data)
    return path


def judgement(read):
    """The reason for which a file is refused, or None."""
    try:
        read()
    except audio.BadAudioError as error:
        found = error
    else:
        return None
    assert str(found) == f"'{audio.printable(found.path)}' {found.reason}."
    assert "\n" not in str(found)
    return found.reason


def three_judgements(path):
    """How the reader, packing and enhancing judge a file; evaluation judges as the reader does."""
    output = path.with_name("out.wav")
    output.unlink(missing_ok=True)
    found = (
        judgement(lambda: audio.read(path)),
        judgement(lambda: decode(path, sample_rate=RATE)),
        judgement(lambda: enhance(path, output, model=Same())),
    )
    assert output.exists() == (found[2] is None)
    try:
        read_audio(path, sample_rate=RATE)
    except RasedError as error:
        evaluated = str(error)
        assert found[0] or "an evaluation needs one" in evaluated
        assert found[0] is None or found[0] in evaluated
    else:
        assert found[0] is None
    return found


def test_each_shape_is_read_to_its_last_sample(tmp_path):
    wrong = {}
    for name, (make, length) in WHOLE.items():
        path = written(tmp_path, name, make())
        found = audio.read(path)[0].shape[1]
        packed = decode(path, sample_rate=RATE).frames
        announced = audio.inspect(path).frames
        if length is not None and found != length:
            wrong[name] = found
        assert packed == found, name
        assert announced in (found, None), name
        assert found >= LENGTH or length == 400, name
    assert wrong == {}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_reading_block_by_block_is_reading_the_whole(tmp_path, name):
    path = written(tmp_path, name, WHOLE[name][0]())
    whole, rate = audio.read(path)
    generator = random.Random(name)
    for low in (-3.3, -2, -0.7):  # blocks of a few samples, of some thousands, and of nearly all
        seconds = 10 ** generator.uniform(low, low + 1)
        pieces = list(audio.blocks(path, seconds=seconds))
        assert {piece.shape[1] for piece in pieces[:-1]} <= {max(1, round(seconds * rate))}
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


@pytest.mark.parametrize("name", KNOWING)
def test_a_file_cut_anywhere_is_never_read_as_if_it_were_whole(tmp_path, name):
    data = WHOLE[name][0]()
    whole, _ = audio.read(written(tmp_path, name, data))
    generator = random.Random(name)
    places = {1, 2, 3, len(data) // 2, len(data) - 1, len(data) - 2}
    places |= {generator.randrange(1, len(data)) for _ in range(6)}
    for place in sorted(places):
        path = written(tmp_path, name, data[:place])
        try:
            found, _ = audio.read(path)
        except audio.BadAudioError:
            continue
        complete = np.array_equal(found, whole)
        joined = name.endswith(("chained", "joined")) or name == "mp3 no tag"
        at_a_joint = joined and np.array_equal(found, whole[:, : found.shape[1]])
        assert complete or at_a_joint, f"cut at {place} of {len(data)}: {found.shape}"


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_every_command_judges_a_damaged_file_alike(tmp_path, name):
    data = WHOLE[name][0]()
    generator = random.Random(f"alike {name}")
    refused = 0
    for _ in range(6):
        path = written(tmp_path, name, damaged(data, generator))
        read, packed, enhanced = three_judgements(path)
        assert read == enhanced
        assert packed == read or "is silent" in (packed or "")
        refused += read is not None
    assert refused


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_half_an_ogg_is_refused_by_every_command(tmp_path, suffix):
    coding = "VORBIS" if suffix == "ogg" else "OPUS"
    data = encoded("OGG", coding, bursts(6 * RATE))
    path = tmp_path / f"half.{suffix}"
    path.write_bytes(data[: len(data) // 2])
    judgements = three_judgements(path)
    assert len(set(judgements)) == 1
    assert judgements[0].startswith("is truncated")


def test_hundreds_of_damaged_files_give_audio_or_one_sentence(tmp_path):
    """No internal error, whatever the bytes; the sample rate and the block stay bounded."""
    contents = {name: make() for name, (make, _) in WHOLE.items()}
    generator = random.Random(20)
    for _ in range(200):
        name = generator.choice(sorted(contents))
        path = written(tmp_path, name, damaged(contents[name], generator))
        try:
            for block in audio.blocks(path):
                assert block.size <= 1 << 22
        except audio.BadAudioError:
            continue


@pytest.mark.parametrize("rate", [0, 1, 8, 999, 768_001, 2**31 - 1, 2**32 - 1])
def test_a_header_with_an_absurd_rate_is_refused_at_once(tmp_path, rate):
    data = replaced(encoded("WAV", "PCM_16"), 24, rate.to_bytes(4, "little"))
    vorbis = encoded("OGG", "VORBIS")
    at = vorbis.index(b"\x01vorbis") + 12
    ogg = material.with_checksums(replaced(vorbis, at, rate.to_bytes(4, "little")))
    for name, content in (("a.wav", data), ("a.ogg", ogg)):
        path = tmp_path / name
        path.write_bytes(content)
        assert len(set(three_judgements(path))) == 1
        assert judgement(lambda path=path: audio.inspect(path)) is not None


@pytest.mark.parametrize(("rate", "length"), [(1_000, 50), (768_000, 4_000)])
def test_the_lowest_and_the_highest_rate_are_read(tmp_path, rate, length):
    soundfile.write(tmp_path / "a.wav", bursts(length), rate)
    assert audio.read(tmp_path / "a.wav")[0].shape == (1, length)


def test_a_header_that_promises_two_bytes_more_is_cut_short(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(material.wav_with_length((2 * LENGTH + 2).to_bytes(4, "little")))
    assert (
        three_judgements(path)
        == (
            f"is truncated: its header announces {2 * LENGTH + 2} bytes of audio, but the file has {2 * LENGTH}; get "
            "the whole file again",
        )
        * 3
    )


def test_a_header_that_leaves_out_half_is_said(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(material.wav_with_length(LENGTH.to_bytes(4, "little")))
    assert "does not include" in audio.inspect(path).note
    assert "does not include" in decode(path, sample_rate=RATE).note
    assert "does not include" in enhance(path, tmp_path / "b.wav", model=Same()).notes[0]


def test_what_a_recorder_left_when_it_died_is_read_and_said(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(material.wav_with_length(bytes(4)))
    np.testing.assert_allclose(audio.read(path)[0][0], bursts()[:, 0], atol=4e-5)
    assert audio.inspect(path).note == "its header gives no length: read to the end of the file"


def test_files_that_were_joined_are_refused_where_only_the_first_could_be_read(tmp_path):
    for container in ("WAV", "WAVEX", "RF64", "AIFF", "AU", "NIST"):
        path = tmp_path / "a.wav"
        path.write_bytes(encoded(container, "PCM_16") * 2)
        judgements = three_judgements(path)
        assert len(set(judgements)) == 1, container
        assert "contains a second file" in judgements[0], container


def test_text_behind_the_audio_is_no_audio(tmp_path):
    data = encoded("WAV", "PCM_16", bursts(1000))
    path = tmp_path / "a.wav"
    path.write_bytes(data + b"LIST\x0a\0\0\0INFOabcdef")
    assert audio.read(path)[0].shape == (1, 1000)
    assert audio.inspect(path).note == ""


def test_a_chunk_of_odd_size_without_padding_is_refused(tmp_path):
    data = encoded("WAV", "PCM_16")
    path = tmp_path / "a.wav"
    path.write_bytes(data[:36] + b"LIST\x05\0\0\0INFOx" + data[36:])
    assert {reason[:12] for reason in three_judgements(path)} == {"is not audio"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"once upon a time\n" * 50, "is not audio"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (bytes(1000), "is not audio"),
        (b"RIFF\0\0\0\0WAVE", "is not audio"),
    ],
)
@pytest.mark.parametrize("ending", [".wav", ".raw", ".mp3", ".flac", ".pcm"])
def test_what_is_no_audio_is_named_by_every_command(tmp_path, content, said, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    judgements = three_judgements(path)
    assert len(set(judgements)) == 1
    assert said in judgements[0]


def test_streams_of_different_kinds_one_behind_the_other_are_refused(tmp_path):
    path = tmp_path / "a.ogg"
    path.write_bytes(encoded("OGG", "VORBIS") + encoded("OGG", "VORBIS", bursts(2000, 2)))
    assert "1 channels and of 16000 Hz with 2 one after another" in three_judgements(path)[0]
    other = io.BytesIO()
    soundfile.write(other, bursts(), 22_050, format="MP3", subtype="MPEG_LAYER_III")
    path = tmp_path / "a.mp3"
    path.write_bytes(material.mp3() + other.getvalue())
    assert "changes from 16000 Hz to 22050 Hz" in three_judgements(path)[0]


def test_a_neighbour_of_macos_does_not_hide_an_mp3(tmp_path):
    """libsndfile takes it for the resource fork of a Sound Designer file when it opens by name."""
    (tmp_path / "n.mp3").write_bytes(material.mp3())
    entries = b"".join(n.to_bytes(4, "big") for n in (9, 50, 32, 2, 82, 100))
    (tmp_path / "._n.mp3").write_bytes(
        b"\x00\x05\x16\x07\x00\x02\x00\x00" + bytes(16) + b"\x00\x02" + entries + bytes(200)
    )
    assert audio.read(tmp_path / "n.mp3")[0].shape == (1, LENGTH)


def test_a_name_that_is_not_utf_8_is_read_and_printed(tmp_path):
    path = tmp_path / "caf\udce9.wav"
    path.write_bytes(encoded("WAV", "PCM_16"))
    assert audio.read(path)[0].shape == (1, LENGTH)
    path.write_bytes(b"text")
    with pytest.raises(audio.BadAudioError, match=r"caf\\xe9\.wav' is not audio") as caught:
        audio.read(path)
    assert str(caught.value).encode()


def test_a_pipe_is_named(tmp_path):
    (tmp_path / "fifo.wav").parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "fifo.wav")
    assert "is a pipe or device" in judgement(lambda: audio.inspect(tmp_path / "fifo.wav"))


def test_what_ffmpeg_reads_is_named_where_ffmpeg_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for content, kind in (
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "MPEG-4 or QuickTime"),
        (b"\x1a\x45\xdf\xa3" + bytes(50), "Matroska or WebM"),
        (b"\xff\xf1\x60\x40" + bytes(50), "AAC"),
    ):
        path = tmp_path / "a.m4a"
        path.write_bytes(content)
        for reason in three_judgements(path):
            assert reason.startswith(f"is {kind}, which rased reads through ffmpeg: install ffmpeg")


ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


SHORT = 20_000


def by_ffmpeg(folder, name, *options):
    soundfile.write(folder / "base.wav", bursts(SHORT), RATE)
    path = folder / name
    words = ["ffmpeg", "-y", "-v", "error", "-i", folder / "base.wav", *options, path]
    if subprocess.run(words, check=False).returncode:
        pytest.skip(f"this ffmpeg cannot write {name}")
    return path


@ffmpeg
@pytest.mark.parametrize(
    "name",
    [
        "a.m4a",
        "a.aac",
        "a.mp4",
        "a.webm",
        "a.mka",
        "a.wma",
        "a.mov",
        "alac.m4a",
        "a.spx",
        "wma.wav",
    ],
)
def test_ffmpeg_reads_what_libsndfile_does_not(tmp_path, name):
    options = {"alac.m4a": ["-c:a", "alac"], "wma.wav": ["-c:a", "wmav2"]}.get(name, [])
    path = by_ffmpeg(tmp_path, name, *options)
    assert three_judgements(path) == (None, None, None)
    found, _ = audio.read(path, sample_rate=RATE)
    assert abs(found.shape[1] - SHORT) <= 2100
    pieces = list(audio.blocks(path, seconds=0.0123))
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), audio.read(path)[0])
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    judgements = three_judgements(path)
    assert len(set(judgements)) == 1
    assert judgements[0] is not None


def test_an_ffmpeg_that_writes_nothing_is_stopped(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("rased.audio.ffmpeg._PATIENCE", 0.2)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0")
    assert "ffmpeg wrote nothing for 0.2 seconds" in judgement(lambda: audio.read(path))


@ffmpeg
def test_ffmpeg_is_read_in_a_process_with_many_files(tmp_path):
    path = by_ffmpeg(tmp_path, "a.mka")
    descriptors = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while descriptors[-1] < 1100:
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
        assert three_judgements(path) == (None, None, None)
    except OSError as error:
        pytest.skip(f"a process may not open so many files here: {error}")
    finally:
        for one in descriptors:
            os.close(one)


@ffmpeg
def test_ffmpeg_opens_no_other_file(tmp_path):
    """A playlist under the name of a video does not lead to other files."""
    by_ffmpeg(tmp_path, "real.m4a")
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {tmp_path}/real.m4a\n")
    with pytest.raises(RasedError, match="is not audio"):
        audio.read(path)


@ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v.mp3", ["-c:a", "libmp3lame", "-q:a", "5", "-write_xing", "0"]),
        ("p.wav", ["-c:a", "libmp3lame"]),
        ("t.mp3", ["-c:a", "libmp3lame", "-b:a", "64k", "-id3v2_version", "3"]),
    ],
)
def test_mp3_of_ffmpeg_has_the_samples_that_ffmpeg_finds(tmp_path, name, options):
    path = by_ffmpeg(tmp_path, name, *options)
    words = ["ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-"]
    theirs = np.frombuffer(subprocess.run(words, capture_output=True, check=True).stdout, "<f4")
    np.testing.assert_allclose(audio.read(path)[0][0], theirs, atol=1e-4)

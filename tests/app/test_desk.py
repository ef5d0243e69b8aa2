"""What the page can do is what the commands do, and it keeps no more than it says."""

import numpy as np
import pytest
import soundfile
import torch

from rased import audio, enhance
from rased.app import Desk, desk
from rased.errors import RasedError
from rased.evaluation.testset import BUNDLE
from rased.metrics import METRICS
from tests.app.conftest import EXAMPLE

MODEL, METHOD = "gtcrn-tuned-16k", "log-mmse"


@pytest.fixture
def opened(tmp_path):
    """A desk in a folder of its own."""
    return Desk(tmp_path)


def sound(one, recording, version):
    return audio.read(one.file(recording, f"{version['version']}.wav"))[0]


def test_it_enhances_as_rased_enhance_does(opened, noisy, tmp_path):
    recording = opened.open(noisy, "a talk.wav")
    (before,) = recording["versions"]
    assert np.array_equal(sound(opened, "r1", before), audio.read(noisy)[0])
    assert recording["seconds"] == pytest.approx(audio.inspect(noisy).seconds)
    for limit in (None, 12.0):
        version = opened.enhance("r1", MODEL, limit)
        enhance(noisy, tmp_path / "expected.wav", model=MODEL, limit_db=limit)
        expected = audio.read(tmp_path / "expected.wav")[0]
        assert np.array_equal(sound(opened, "r1", version), expected)
    assert version["download"] == f"a talk.{MODEL}.wav"


def test_no_strength_returns_the_recording(opened, noisy):
    opened.open(noisy, "noisy.wav")
    version = opened.enhance("r1", METHOD, 0)
    assert np.allclose(sound(opened, "r1", version), audio.read(noisy)[0], atol=2**-15)


def test_the_same_again_is_not_enhanced_again(opened, noisy, monkeypatch):
    opened.open(noisy, "noisy.wav")
    first = opened.enhance("r1", METHOD, 12)
    monkeypatch.setattr(desk, "enhance", None)
    assert opened.enhance("r1", METHOD, 12.0) == first


def test_an_example_comes_with_its_target(opened):
    found = opened.open_example(EXAMPLE)
    assert [version["label"] for version in found["versions"]] == ["noisy", "target"]
    target = audio.read(BUNDLE / "target" / f"{EXAMPLE}.flac")[0]
    assert np.array_equal(sound(opened, "r1", found["versions"][1]), target)
    assert EXAMPLE in {example["id"] for example in opened.offer()["examples"]}


@pytest.mark.parametrize(("rate", "top"), [(8_000, 8), (16_000, 8), (44_100, 24), (48_000, 24)])
def test_pictures_show_the_upper_band_of_recordings_that_have_one(opened, tmp_path, rate, top):
    place = tmp_path / "noise.wav"
    soundfile.write(place, 0.1 * np.random.default_rng(1).standard_normal(rate // 2), rate)
    found = opened.open(place, "noise.wav")
    assert found["top_khz"] == top
    assert opened.file("r1", "noisy.png").read_bytes().startswith(b"\x89PNG")


def test_several_channels_and_wide_samples_stay(opened, tmp_path):
    place, rng = tmp_path / "stereo.wav", np.random.default_rng(2)
    soundfile.write(place, 0.1 * rng.standard_normal((8_000, 2)), 16_000, subtype="DOUBLE")
    assert opened.open(place, "stereo.wav")["channels"] == 2
    opened.enhance("r1", METHOD)
    written = soundfile.info(opened.file("r1", f"{opened.models.index(METHOD)}-all.wav"))
    # No browser plays 64-bit samples.
    assert (written.channels, written.subtype) == (2, "FLOAT")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "'holiday.wav' is empty"),
        (b"no audio at all" * 100, "'holiday.wav' "),
    ],
)
def test_a_bad_file_is_refused_by_the_name_that_the_user_gave(opened, tmp_path, content, said):
    place = tmp_path / "upload-1.wav"
    place.write_bytes(content)
    with pytest.raises(RasedError) as refused:
        opened.open(place, "holiday.wav")
    assert said in str(refused.value)
    assert "upload" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["upload-1.wav"]


def test_a_long_recording_is_refused(opened, noisy, monkeypatch, tmp_path):
    monkeypatch.setattr(desk, "MINUTES", 0.01)
    with pytest.raises(RasedError, match=r"longer than 0\.01 minutes.*rased enhance"):
        opened.open(noisy, "noisy.wav")
    assert list(tmp_path.iterdir()) == []


def test_a_recording_of_many_channels_is_refused(opened, monkeypatch, tmp_path):
    """A few megabytes of FLAC may hold gigabytes of silence."""
    monkeypatch.setattr(desk, "LARGEST", 1 << 20)
    soundfile.write(tmp_path / "many.flac", np.zeros((40_000, 8)), 16_000)
    with pytest.raises(RasedError, match=r"'many' has more than 1 MB in 32 bits: .*rased enhance"):
        opened.open(tmp_path / "many.flac", "many")
    assert [path.name for path in tmp_path.iterdir()] == ["many.flac"]


def test_the_oldest_versions_are_deleted_if_all_are_too_large(opened, noisy, monkeypatch):
    size = noisy.stat().st_size
    monkeypatch.setattr(desk, "_BYTES", 3 * size + 10_000)
    opened.open(noisy, "noisy.wav")
    names = [opened.enhance("r1", "spectral-subtraction", at)["version"] for at in range(4)]
    kept = sorted(path.stem for path in opened.file("r1", "noisy.wav").parent.glob("*.wav"))
    assert kept == sorted(["noisy", *names[-2:]])
    monkeypatch.setattr(desk, "_BYTES", 1)  # the recording and its newest version always stay
    assert opened.file("r1", f"{opened.enhance('r1', METHOD)['version']}.wav").is_file()
    assert opened.file("r1", "noisy.wav").is_file()


@pytest.mark.parametrize(
    ("recording", "model", "limit", "said"),
    [
        ("r1", "gtcrn-tuned-61k", None, "did you mean 'gtcrn-tuned-16k'"),
        ("r1", "/tmp", None, "the page does not offer '/tmp'"),
        ("r1", "https://example.org/card.yaml", None, "does not offer"),
        ("r2", METHOD, None, "open it again"),
        ("r1", METHOD, -1, "at least 0"),
        ("r1", METHOD, float("nan"), "at least 0"),
        ("r1", METHOD, True, "at least 0"),
    ],
)
def test_only_what_is_offered_is_done(opened, noisy, recording, model, limit, said):
    opened.open(noisy, "noisy.wav")
    with pytest.raises(RasedError, match=said):
        opened.enhance(recording, model, limit)


@pytest.mark.parametrize("name", ["../r1/noisy.wav", "noisy", "noisy.flac", "", "gone.wav", ".wav"])
def test_only_files_of_the_page_are_given_out(opened, noisy, name):
    opened.open(noisy, "noisy.wav")
    with pytest.raises(RasedError, match=r"there is no file|no longer kept"):
        opened.file("r1", name)


def test_the_oldest_recordings_and_versions_are_deleted(opened, noisy, tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "_RECORDINGS", 2)
    monkeypatch.setattr(desk, "_VERSIONS", 3)
    for _ in range(3):
        opened.open(noisy, "noisy.wav")
    assert {path.name for path in tmp_path.iterdir()} == {"r2", "r3"}
    for limit in range(5):
        opened.enhance("r3", "spectral-subtraction", limit)
    number = opened.models.index("spectral-subtraction")
    assert {path.name for path in (tmp_path / "r3").glob("*.wav")} == {
        "noisy.wav",
        f"{number}-3.wav",
        f"{number}-4.wav",
    }


def test_limits_that_differ_little_are_not_taken_for_one(opened, noisy):
    opened.open(noisy, "noisy.wav")
    limits = (12, 12.0, 12.000001, 0.1, None)
    names = [opened.enhance("r1", METHOD, limit)["version"] for limit in limits]
    assert names[0] == names[1]
    assert len(set(names)) == 4
    assert all(opened.file("r1", f"{name}.png").is_file() for name in names)


def test_an_answer_does_not_change_when_scores_come(opened, noisy):
    """Answers are written by one thread while another one scores."""
    (before,) = opened.open(noisy, "noisy.wav")["versions"]
    given = dict(before)
    opened.scores("r1", "noisy")
    assert before == given


def test_pictures_and_scores_are_those_of_the_first_channel(opened, noisy, tmp_path):
    samples, rate = audio.read(noisy)
    many = np.concatenate([samples, np.zeros((15, samples.shape[1]), np.float32)])
    audio.write(tmp_path / "many.wav", many, rate)
    for file in (noisy, tmp_path / "many.wav"):
        opened.open(file, "talk.wav")
    first, second = (opened.file(name, "noisy.png").read_bytes() for name in ("r1", "r2"))
    assert first == second
    assert opened.scores("r1", "noisy") == opened.scores("r2", "noisy")


def test_scores_are_those_of_rased_evaluate(opened, noisy):
    pytest.importorskip("speechmos")
    opened.open(noisy, "noisy.wav")
    estimate = audio.read(noisy)[0][0]
    found = opened.scores("r1", "noisy")
    assert list(found) == list(desk.SCORES)
    name = desk.SCORES[0]
    expected = METRICS[name](estimate=torch.from_numpy(estimate), sample_rate=16_000)
    assert found[name] == {"title": "OVRL", "value": expected.value, "status": "ok"}


def test_without_the_extra_it_says_what_to_install(opened, noisy, monkeypatch):
    monkeypatch.setattr("rased.metrics.base._installed", lambda package: "missing")
    assert opened.offer()["scores"] == "pip install 'rased[eval]'"
    opened.open(noisy, "noisy.wav")
    score = opened.scores("r1", "noisy")["dnsmos-ovrl"]
    assert score["value"] is None
    assert "pip install 'rased[eval]'" in score["status"]


def test_a_model_that_cannot_be_loaded_is_reported_at_once(tmp_path):
    with pytest.raises(RasedError, match="did you mean 'gtcrn-tuned-16k'"):
        Desk(tmp_path, ["gtcrn-tuned-61k"])

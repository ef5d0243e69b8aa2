"""Each bad input of the command line: an exit code, one sentence, no traceback, nothing lost."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
import yaml

from rased import audio
from rased.cli import main
from tests.zoo.conftest import write_tiny

MODEL = "tiny"
OLD = b"an older output"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rased.zoo.publish.macs_per_second", lambda enhancer, condition=None: 1e6)
        return write_tiny(tmp_path_factory.mktemp("zoo") / MODEL)


@pytest.fixture(autouse=True)
def shelf(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "zoo" / MODEL)
    monkeypatch.setenv("RASED_ZOO", str(tmp_path / "zoo"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "zoo" / MODEL


def tone(seconds=1.0, sample_rate=16_000):
    time = np.arange(max(1, round(seconds * sample_rate))) / sample_rate
    return (0.3 * np.sin(2 * np.pi * 440 * time)[None]).astype(np.float32)


def good(path, seconds=1.0, sample_rate=16_000):
    audio.write(path, tone(seconds, sample_rate), sample_rate)
    return path


def complaint(capsys, words, code=2):
    """Run the command line; give the one sentence that it says."""
    assert main([str(word) for word in words]) == code
    said = capsys.readouterr().err
    assert said.startswith("rased: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_input(kind, folder):
    path = folder / "in.flac"
    match kind:
        case "missing":
            pass
        case "not audio":
            path.write_text("not audio at all")
        case "empty":
            path.write_bytes(b"")
        case "no samples":
            path = path.with_suffix(".wav")
            soundfile.write(path, np.zeros((0, 1)), 16_000)
        case "NaN":
            path = path.with_suffix(".wav")
            broken = tone()
            broken[0, 8_000] = np.nan
            audio.write(path, broken, 16_000, coding="FLOAT")
        case "truncated FLAC":
            cut(good(path, 3.0))
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "does not exist"),
        ("not audio", "is not audio that libsndfile can read"),
        ("empty", "is empty (0 bytes)"),
        ("no samples", "has no samples"),
        ("NaN", "has NaN or infinite samples (the first at 0.500 s)"),
        ("truncated FLAC", "is truncated or damaged"),
    ],
)
def test_a_bad_file_is_named_and_an_older_output_is_kept(capsys, tmp_path, kind, said):
    source, target = bad_input(kind, tmp_path), tmp_path / "out.wav"
    target.write_bytes(OLD)
    before = sorted(tmp_path.iterdir())
    sentence = complaint(capsys, ["enhance", source, "-o", target, "--model", MODEL])
    assert said in sentence
    assert f"'{source}'" in sentence
    assert target.read_bytes() == OLD
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("kind", "length", "sample_rate", "coding"),
    [
        ("8-bit", 8_000, 8_000, "PCM_U8"),
        ("192 kHz", 192_000, 192_000, "PCM_24"),
        ("1 sample long", 1, 16_000, "PCM_16"),
    ],
)
def test_unusual_files_work(capsys, tmp_path, kind, length, sample_rate, coding):
    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, tone(1.0, 192_000)[0, :length], sample_rate, subtype=coding)
    assert main(["enhance", str(source), "-o", str(target), "--model", MODEL]) == 0
    info = audio.inspect(target)
    assert (info.frames, info.sample_rate, info.channels) == (length, sample_rate, 1)
    assert "real-time factor" in capsys.readouterr().err


def test_a_bad_file_in_a_folder_does_not_stop_the_others(capsys, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "c.wav"):
        good(tmp_path / "in" / name)
    (tmp_path / "in" / "b.wav").write_text("not audio")
    out = tmp_path / "out"
    assert main(["enhance", str(tmp_path / "in"), "-o", str(out), "--model", MODEL]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "1 of 3 files could not be enhanced; see the messages above" in said[-1]
    assert any("b.wav' is not audio" in line for line in said)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a.wav", "c.wav"]


@contextmanager
def mounted(folder, options):
    """A small tmpfs; skips where it cannot be mounted."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small tmpfs")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_full_disk_is_named_and_an_older_output_is_kept(capsys, tmp_path, suffix):
    generator = np.random.default_rng(0)
    source = tmp_path / "in.wav"
    audio.write(source, 0.1 * generator.standard_normal((1, 2_000_000)), 16_000)
    with mounted(tmp_path / "small", "size=64k") as small:
        target = small / f"out{suffix}"
        target.write_bytes(OLD)
        sentence = complaint(capsys, ["enhance", source, "-o", target, "--model", MODEL])
        assert f"cannot write '{target}': No space left on device" in sentence
        assert target.read_bytes() == OLD
        assert [path.name for path in small.iterdir()] == [target.name]


def test_a_read_only_folder_is_named(capsys, tmp_path):
    source = good(tmp_path / "in.wav")
    with mounted(tmp_path / "fixed", "size=64k,ro") as fixed:
        words = ["enhance", source, "-o", fixed / "out.wav", "--model", MODEL]
        assert "cannot write" in complaint(capsys, words)


def test_a_read_only_output_is_kept(capsys, tmp_path):
    source, target = good(tmp_path / "in.wav"), tmp_path / "out.wav"
    target.write_bytes(OLD)
    target.chmod(0o444)
    words = ["enhance", source, "-o", target, "--model", MODEL]
    assert "exists and is read-only" in complaint(capsys, words)
    assert target.read_bytes() == OLD


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("in.wav", "is the input; choose another output"),
        ("out", "is not a known format; known suffixes: .wav"),
        ("out.docx", "is not a known format"),
        ("/dev/null.d/out.wav", "cannot write"),
        ("in.wav/out.wav", "cannot write"),
    ],
)
def test_an_impossible_output_is_refused(capsys, tmp_path, output, said):
    source = good(tmp_path / "in.wav")
    before = source.read_bytes()
    place = tmp_path / output
    if output.startswith("/dev"):
        place = "/dev/null/out.wav"
    assert said in complaint(capsys, ["enhance", source, "-o", place, "--model", MODEL])
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "zoo"]


def test_dev_null_is_not_replaced(capsys, tmp_path):
    (tmp_path / "null.wav").symlink_to("/dev/null")
    source = good(tmp_path / "in.wav")
    words = ["enhance", source, "-o", tmp_path / "null.wav", "--model", MODEL]
    assert "is a pipe or device, not a file" in complaint(capsys, words)


def test_an_unknown_model_brings_the_nearest_names(capsys, tmp_path):
    words = ["enhance", good(tmp_path / "in.wav"), "-o", tmp_path / "out.wav", "--model", "tinny"]
    assert "no checkpoint or method 'tinny'; did you mean 'tiny'?" in complaint(capsys, words)
    assert not (tmp_path / "out.wav").exists()


def change_card(entry, **changes):
    card = yaml.safe_load((entry / "card.yaml").read_text())
    (entry / "card.yaml").write_text(yaml.safe_dump({**card, **changes}))


def damage(kind, entry):
    weights = entry / "model.safetensors"
    content = bytearray(weights.read_bytes())
    match kind:
        case "flipped byte":
            content[-1] ^= 1
            weights.write_bytes(bytes(content))
        case "truncated":
            cut(weights)
        case "missing weights":
            weights.unlink()
        case "newer schema":
            change_card(entry, schema=99)
        case "unknown class":
            change_card(entry, enhancer={"class_path": "rased.models.gru.Nothing"})
        case "foreign class":
            change_card(entry, enhancer={"class_path": "subprocess.Popen"})
        case "no card":
            (entry / "card.yaml").write_text("{")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("flipped byte", "it was changed or truncated; get the checkpoint again"),
        ("truncated", "it was changed or truncated; get the checkpoint again"),
        ("missing weights", "cannot be read: No such file"),
        ("newer schema", "has schema 99, but this version of rased reads up to 1; update it"),
        (
            "unknown class",
            "'rased.models.gru.Nothing' is not a class that an untrusted file may name",
        ),
        (
            "foreign class",
            "'subprocess.Popen' is not a class that an untrusted file may name; no enhancer needs it",
        ),
        ("no card", "is not valid YAML"),
    ],
)
def test_a_damaged_checkpoint_is_refused(capsys, tmp_path, shelf, kind, said):
    damage(kind, shelf)
    words = ["enhance", good(tmp_path / "in.wav"), "-o", tmp_path / "out.wav", "--model", MODEL]
    assert said in complaint(capsys, words)
    assert not (tmp_path / "out.wav").exists()


def test_verify_of_a_damaged_checkpoint_finds_problems(capsys, shelf):
    damage("flipped byte", shelf)
    assert f"1 of 1 entries failed: {shelf}." in complaint(capsys, ["zoo", "verify", shelf], 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zoo", "publish", "nowhere", "--name", "x"], "has no checkpoints/best.ckpt"),
        (["zoo", "import", "gtcnr", "x.tar", "--out", "y"], "did you mean 'gtcrn'?"),
        (["zoo", "import", "gtcrn", "x.tar", "--out", "y"], "the file 'x.tar' does not exist"),
        (["zoo", "info", "tinny"], "did you mean 'tiny'?"),
        (["enhance", "-", "-o", "out.wav", "--model", MODEL], "write `rased enhance - -o -`"),
    ],
)
def test_other_wrong_words(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert said in complaint(capsys, words)

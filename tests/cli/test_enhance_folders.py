"""Folders: what is done is skipped, several files at a time, and files that arrive later."""

import json
import os

import numpy as np
import pytest

from rased import audio
from rased.cli import main
from rased.cli.enhance import batch
from rased.cli.enhance.done import NAME


def hum(seconds=0.2, level=0.1):
    samples = round(16_000 * seconds)
    return (level * np.random.default_rng(1).standard_normal((1, samples))).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "deep/b.flac", "deep/er/c.wav"):
        audio.write(tmp_path / "in" / name, hum(), 16_000)
    return tmp_path / "in"


def enhance(folder, capsys, *words, code=0):
    """The names of the files that were enhanced and skipped."""
    out = folder.parent / "out"
    common = ["enhance", str(folder), "-o", str(out), "-m", "spectral-subtraction", "--json"]
    assert main([*common, *words]) == code
    report = json.loads(capsys.readouterr().out)

    def names(outputs):
        return sorted(os.path.relpath(one, out) for one in outputs)

    return names(row["output"] for row in report["files"]), names(report["skipped"])


ALL = ["a.wav", "deep/b.flac", "deep/er/c.wav"]


def test_a_folder_is_mirrored_and_what_is_done_is_skipped(folder, capsys):
    assert enhance(folder, capsys) == (ALL, [])
    assert enhance(folder, capsys) == ([], ALL)
    assert enhance(folder, capsys, "--again") == (ALL, [])
    # Another option, and the same again: every output is that of the last run.
    assert enhance(folder, capsys, "--limit-db", "6") == (ALL, [])
    assert enhance(folder, capsys) == (ALL, [])
    assert enhance(folder, capsys, "--band", "model") == (ALL, [])


def test_only_what_changed_is_enhanced_again(folder, capsys):
    enhance(folder, capsys)
    audio.write(folder / "a.wav", hum(level=0.2), 16_000)
    (folder.parent / "out" / "deep" / "b.flac").unlink()
    audio.write(folder / "new.wav", hum(), 16_000)
    assert enhance(folder, capsys) == (["a.wav", "deep/b.flac", "new.wav"], ["deep/er/c.wav"])
    # An output that somebody changed is not that of the run.
    audio.write(folder.parent / "out" / "a.wav", hum(), 16_000)
    assert enhance(folder, capsys)[0] == ["a.wav"]


def test_an_input_that_changes_while_it_is_enhanced_is_not_done(folder, capsys, monkeypatch):
    plain = batch.enhance

    def slow(source, target, **words):
        report = plain(source, target, **words)
        if source.name == "a.wav":  # a recording that goes on
            audio.write(source, hum(0.3), 16_000)
        return report

    with monkeypatch.context() as patch:
        patch.setattr(batch, "enhance", slow)
        assert enhance(folder, capsys)[0] == ALL
    assert enhance(folder, capsys) == (["a.wav"], ALL[1:])
    assert audio.inspect(folder.parent / "out" / "a.wav").seconds == pytest.approx(0.3)


@pytest.mark.parametrize("cut", range(0, 220, 9))
def test_a_journal_that_ends_anywhere_costs_at_most_work(folder, capsys, cut):
    for name in ("deep/b.flac", "deep/er/c.wav"):
        (folder / name).unlink()
    enhance(folder, capsys)
    journal = folder.parent / "out" / NAME
    content = journal.read_bytes()
    journal.write_bytes(content[:cut] if cut % 2 else b"\xff[[" + content[:cut] + b"\n{}\n[1]\n3")
    enhance(folder, capsys)
    assert enhance(folder, capsys) == ([], ["a.wav"])


def test_a_bad_file_is_named_and_tried_again(folder, capsys):
    (folder / "bad.wav").write_text("no audio")
    assert enhance(folder, capsys, code=1) == (ALL, [])
    assert enhance(folder, capsys, code=1) == ([], ALL)
    audio.write(folder / "bad.wav", hum(), 16_000)
    assert enhance(folder, capsys) == (["bad.wav"], ALL)


def test_several_files_at_a_time_need_a_number(folder, capsys):
    assert main(["enhance", str(folder), "--jobs", "0"]) == 2
    assert "--jobs is 0; give 1 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_several_files_at_a_time_give_the_same_outputs(folder, capsys):
    (folder / "bad.wav").write_text("no audio")
    assert enhance(folder, capsys, code=1)[0] == ALL
    out = folder.parent / "out"
    before = {name: (out / name).read_bytes() for name in ALL}
    assert enhance(folder, capsys, "--again", "--jobs", "2", code=1) == (ALL, [])
    assert {name: (out / name).read_bytes() for name in ALL} == before
    assert enhance(folder, capsys, "--jobs", "2", code=1) == ([], ALL)


def test_a_watched_folder_enhances_complete_files_until_it_is_interrupted(
    folder, capsys, monkeypatch
):
    out, seen = folder.parent / "out", []

    def written():
        return sorted(
            str(path.relative_to(out)) for path in out.rglob("*.[wf]*") if path.name != NAME
        )

    def arrive(turn):
        if turn == 2:  # being copied: another size at each look
            (folder / "late.wav").write_bytes(content[:1_000])
        if turn == 3:
            (folder / "late.wav").write_bytes(content)
            (folder / "bad.wav").write_text("no audio")
        if turn == 7:
            raise KeyboardInterrupt

    def sleep(seconds):
        seen.append(written() if out.exists() else [])
        arrive(len(seen))

    content = (folder / "a.wav").read_bytes()
    monkeypatch.setattr(batch.time, "sleep", sleep)
    words = ["enhance", str(folder), "-o", str(out), "-m", "spectral-subtraction", "--watch"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert seen == [[], ALL, ALL, ALL, *([sorted([*ALL, "late.wav"])] * 3)]
    assert said.count("bad.wav' is not audio") == 1
    assert "1 files could not be enhanced" in said
    assert (out / "late.wav").read_bytes() == (out / "a.wav").read_bytes()


def test_a_watched_folder_keeps_the_output_of_an_input_whose_name_another_one_takes(
    tmp_path, monkeypatch
):
    """ "a.ogg" goes to "a.flac" until there is an "a.flac", and then to "a.ogg.flac"."""
    here, out, turns = tmp_path / "in", tmp_path / "out", []
    audio.write(here / "a.ogg", hum(0.3), 16_000)

    def sleep(seconds):
        turns.append(sorted(path.name for path in out.glob("a*")))
        if len(turns) == 3:
            audio.write(here / "a.flac", hum(0.1), 16_000)
        if len(turns) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(batch.time, "sleep", sleep)
    words = ["enhance", str(here), "-o", str(out), "-m", "spectral-subtraction", "--watch"]
    assert main(words) == 0
    assert turns[2] == ["a.flac"]
    assert turns[-1] == ["a.flac", "a.ogg.flac"]
    lengths = [audio.inspect(out / name).seconds for name in turns[-1]]
    assert lengths == pytest.approx([0.1, 0.3])


def test_only_a_folder_can_be_watched(folder, capsys):
    assert main(["enhance", str(folder / "a.wav"), "--watch"]) == 2
    assert "--watch needs one folder" in capsys.readouterr().err

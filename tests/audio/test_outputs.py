"""Which file becomes which: nothing is left out without a word, nothing replaces an input, no two share a name."""

import itertools
import random

import pytest

from rased import audio
from rased.audio import SUFFIXES, audio_below, plan
from rased.errors import RasedError


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return [root / name for name in names]


def test_a_folder_is_mirrored_and_every_ending_of_audio_is_in(tmp_path):
    root = tmp_path / "in"
    names = ["a.wav", "deep/er/b.flac", "c.mp3", "d.WAV", "e.m4a", "f.wave", "g.Flac", "h.webm"]
    files(root, *names, "notes.txt", ".hidden.wav", ".git/d.wav", "._a.wav")
    output = root / "out"
    files(output, "old/e.wav")
    done = plan([root], output)
    wanted = {name: name for name in names}
    wanted |= {"c.mp3": "c.flac", "e.m4a": "e.flac", "f.wave": "f.flac", "h.webm": "h.flac"}
    assert dict(done.pairs) == {root / name: output / to for name, to in wanted.items()}
    assert done.left_out == [
        f"1 files in '{output}' are skipped: they are outputs of an earlier run"
    ]


def test_one_file_goes_beside_itself_to_a_name_or_into_a_folder(tmp_path):
    (source,) = files(tmp_path, "a.wav")
    assert plan([source]).pairs == [(source, tmp_path / "a.enhanced.wav")]
    assert plan([source], tmp_path / "b.wav").pairs == [(source, tmp_path / "b.wav")]
    (tmp_path / "there").mkdir()
    assert plan([source], tmp_path / "there").pairs == [(source, tmp_path / "there" / "a.wav")]
    assert plan([source], f"{tmp_path}/new/").pairs == [(source, tmp_path / "new" / "a.wav")]


def test_outputs_beside_their_inputs_are_no_inputs_of_the_next_run(tmp_path):
    sources = files(tmp_path, "a.wav", "a.enhanced.wav", "b.mp3", "b.flac")
    files(tmp_path, "folder/c.wav")
    done = plan([*sources, tmp_path / "folder"])
    assert done.pairs == [
        (tmp_path / "a.wav", tmp_path / "a.enhanced.wav"),
        (tmp_path / "b.mp3", tmp_path / "b.enhanced.flac"),
        (tmp_path / "b.flac", tmp_path / "b.enhanced-2.flac"),
        (tmp_path / "folder" / "c.wav", tmp_path / "folder.enhanced" / "c.wav"),
    ]
    assert done.left_out == [
        f"'{tmp_path / 'a.enhanced.wav'}' is skipped: it is the output of '{tmp_path / 'a.wav'}'"
    ]


def test_files_that_would_share_a_name_get_distinct_ones(tmp_path):
    files(tmp_path, "x/a.wav", "y/a.wav", "z/a.flac", "z/a.mp3", "z/a.ogg", "z/a-2.flac")
    out = tmp_path / "out"
    two = plan([tmp_path / "x", tmp_path / "y"], out).pairs
    assert [target.name for _, target in two] == ["a.wav", "a-2.wav"]
    three = {source.name: target.name for source, target in plan([tmp_path / "z"], out).pairs}
    assert three == {
        "a.flac": "a.flac",
        "a.mp3": "a.mp3.flac",
        "a.ogg": "a.ogg.flac",
        "a-2.flac": "a-2.flac",
    }


@pytest.mark.parametrize("seed", range(60))
def test_for_any_names_all_outputs_are_distinct_and_none_is_an_input(tmp_path, seed):
    generator = random.Random(seed)
    endings = [".wav", ".flac", ".mp3", ".ogg", ".m4a", ".mp3.flac", "-2.wav", ".enhanced.wav"]
    names = [
        f"{folder}/{stem}{ending}"
        for folder, stem, ending in itertools.product("xy", ("a", "a-2", "b"), endings)
        if generator.random() < 0.4
    ] or ["x/a.wav"]
    sources = files(tmp_path, *sorted(set(names)))
    given = generator.choice(
        [sources, [tmp_path / "x", tmp_path / "y"] if len({n[0] for n in names}) == 2 else sources]
    )
    output = generator.choice([None, tmp_path / "out", f"{tmp_path}/out.wav/"])
    done = plan(given, output)
    targets = [target for _, target in done.pairs]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & {source for source, _ in done.pairs}
    assert len(done.pairs) + len(done.left_out) == len(sources)


def test_a_name_of_one_file_for_several_inputs_is_refused_with_the_repair(tmp_path):
    sources = files(tmp_path, "in/a.wav", "in/b.wav")
    for given in (sources, [tmp_path / "in"]):
        with pytest.raises(RasedError, match=r"both\.wav' is the name of a file.*-o .*/both "):
            plan(given, tmp_path / "both.wav")
    assert not (tmp_path / "both.wav").exists()
    pairs = plan(sources, f"{tmp_path}/both.wav/").pairs
    assert pairs[0][1] == tmp_path / "both.wav" / "a.wav"


def test_plans_that_make_no_sense_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    files(tmp_path, "a.wav", "b.wav", "rec/a.wav")
    with pytest.raises(RasedError, match="contains no audio files"):
        plan([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(RasedError, match="is a file; give a folder"):
        plan([tmp_path / "a.wav", tmp_path / "b.wav"], tmp_path / "a.wav")
    with pytest.raises(RasedError, match="input and the output are the same folder"):
        plan([tmp_path / "rec"], tmp_path / "rec")
    with pytest.raises(RasedError, match=r"would replace the input '.*/a\.wav'"):
        plan([tmp_path / "rec", tmp_path / "a.wav"], tmp_path)


def test_the_output_may_be_the_folder_above_the_input(tmp_path, monkeypatch):
    files(tmp_path, "rec/a.wav", "sub/x.txt")
    assert plan([tmp_path / "rec"], tmp_path).pairs == [
        (tmp_path / "rec" / "a.wav", tmp_path / "a.wav")
    ]
    monkeypatch.chdir(tmp_path)
    assert [str(target) for _, target in plan(["rec"], ".").pairs] == ["a.wav"]
    monkeypatch.chdir(tmp_path / "sub")
    assert [str(target) for _, target in plan(["../rec"], ".").pairs] == ["a.wav"]


def test_each_folder_is_walked_once_however_links_lead_to_it(tmp_path):
    root = tmp_path / "d"
    files(root, "spk1/a.wav", "spk2/b.wav")
    (root / "spk1" / "loop").symlink_to("..")
    (root / "current").symlink_to("spk1")
    (root / "self").symlink_to(".")
    (root / "self.wav").symlink_to("self.wav")
    (root / "gone.wav").symlink_to("nowhere.wav")
    files(tmp_path / "elsewhere", "c.wav")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    passed_over = audio.folders.Counter()
    found = sorted(path.as_posix() for path in audio_below(root, passed_over=passed_over))
    assert found == ["gone.wav", "linked/c.wav", "self.wav", "spk1/a.wav", "spk2/b.wav"]
    assert passed_over == {"links to folders that were already visited": 3}


def test_every_ending_of_audio_is_of_lower_case_with_a_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    assert {".m4a", ".mp4", ".webm", ".aac", ".wma", ".raw"} <= SUFFIXES

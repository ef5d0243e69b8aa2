"""Writing in one step: whole or not there, whoever else writes and whenever a writer is killed."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rased.disk import PART, new_folder, remove_abandoned, replacing, unfinished_name, write_json


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_half_way(path: Path) -> None:
    with replacing(path) as part:
        part.write_text("half")
        raise KeyError


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.txt"
    with replacing(path) as part:
        part.write_text("new")
        assert not path.exists()
        assert part.parent == path.parent
    assert path.read_text() == "new"
    assert listed(path.parent) == ["a.txt"]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError):
        fail_half_way(path)
    assert path.read_text() == "old"
    assert listed(tmp_path) == ["a.txt"]


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    contents = [[number] * 5000 for number in range(8)]
    threads = [threading.Thread(target=write_json, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert json.loads(path.read_text()) in contents
    assert listed(tmp_path) == ["a.json"]


def test_the_longest_name_that_a_file_system_takes(tmp_path: Path) -> None:
    for name in ("n" * 251 + ".wav", "ü" * 125 + ".wav"):
        with replacing(tmp_path / name) as part:
            part.write_text("x")
        assert (tmp_path / name).read_text() == "x"


KILLED = """
import os, sys
from pathlib import Path
from rased.disk import new_folder, replacing
with {how}(Path(sys.argv[1])) as part:
    (part / "x" if part.is_dir() else part).write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["replacing", "new_folder"])
def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "entry"
    command = [sys.executable, "-c", KILLED.format(how=how), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        remove_abandoned(path)
        assert len(listed(tmp_path)) == 1
        assert listed(tmp_path)[0].endswith(PART)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert not path.exists()
    remove_abandoned(path)
    assert listed(tmp_path) == []


def test_only_unfinished_files_of_that_name_are_removed(tmp_path: Path) -> None:
    others = [unfinished_name("b"), ".a.part", "a.part", ".a.note.part", ".a.b.0123456789abcdef"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / unfinished_name("a")).touch()
    remove_abandoned(tmp_path / "a")
    assert listed(tmp_path) == sorted(others)


def test_a_folder_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    for number, replace in enumerate((False, True)):
        with new_folder(path, replace=replace) as part:
            (part / "x").write_text(str(number))
    with pytest.raises(FileExistsError), new_folder(path) as part:
        (part / "x").write_text("2")
    assert (path / "x").read_text() == "1"
    assert listed(tmp_path) == ["entry"]


def test_an_empty_folder_counts_as_there(tmp_path: Path) -> None:
    path = tmp_path / "entry"
    path.mkdir()
    with pytest.raises(FileExistsError), new_folder(path):
        pass


def write_numbered(path: Path, number: int) -> None:
    with new_folder(path, replace=True) as part:
        (part / "x").write_text(str(number))


@pytest.mark.skipif(sys.platform != "linux", reason="Linux exchanges two names in one step")
def test_a_reader_always_finds_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    """Also writers at once: the last one wins, and nothing is left of the others."""
    path = tmp_path / "entry"
    write_numbered(path, 0)
    writers = [
        threading.Thread(target=lambda: [write_numbered(path, n) for n in range(20)])
        for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.is_dir()
    for writer in writers:
        writer.join()
    assert (path / "x").read_text() == "19"
    assert listed(tmp_path) == ["entry"]


def test_without_an_exchange_a_failure_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "entry"
    monkeypatch.setattr("rased.disk.exchange", lambda one, other: False)
    for number in range(2):
        write_numbered(path, number)
    assert (path / "x").read_text() == "1"
    whole = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.name.endswith(PART) and (self / "x").read_text() == "2":
            raise OSError(28, "No space left on device")
        return whole(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OSError, match="No space"):
        write_numbered(path, 2)
    assert (path / "x").read_text() == "1"
    assert listed(tmp_path) == ["entry"]

"""On Ray as on this machine: the same results in the same order, the same errors, the same files."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from subprocess import PIPE

import pytest

from rased.cli import main
from rased.data.preparation.geometry import RoomRecipe
from rased.data.preparation.rooms import simulate
from rased.errors import ProblemsFound, RasedError
from rased.parallel import in_order
from tests.clusters import family, local_cluster, ray_folder
from tests.tasks import killed, place, refused, squared, unsendable

# Not `importorskip`: Ray reads its settings when it is imported.
pytestmark = pytest.mark.skipif(
    find_spec("ray") is None or os.name == "nt", reason="needs Ray, and not Windows"
)


@pytest.fixture(scope="module")
def ray():
    with local_cluster() as found:
        yield found


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_results_keep_the_order_of_the_items(ray, share):
    found = in_order(squared, range(25), engine=ray, share=lambda _: share)
    assert list(found) == [n * n for n in range(25)]


@pytest.mark.parametrize("jobs", [None, 1])
def test_items_are_read_no_further_than_needed(ray, jobs):
    read = []
    results = in_order(squared, (read.append(n) or n for n in range(1000)), jobs=jobs, engine=ray)
    for count in range(1, 12):
        next(results)
        assert len(read) <= count + 2 * (jobs or 2)
    results.close()


def test_an_error_comes_out_at_its_place_as_it_was_raised(ray):
    results = in_order(refused, [2, 1, 3, 4], engine=ray, share=lambda _: 0.2)
    assert [next(results), next(results)] == [2, 1]
    with pytest.raises(ProblemsFound, match=r"^3 is not liked\.$"):
        next(results)


def test_an_error_that_cannot_be_sent_is_a_sentence(ray):
    with pytest.raises(RasedError, match=r"^Unsendable: one and two\.$"):
        list(in_order(unsendable, [1], engine=ray))


def test_a_worker_has_the_folder_and_the_settings_of_this_process(ray, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RASED_CACHE", "elsewhere")
    assert list(in_order(place, [1], engine=ray)) == [(str(tmp_path), "elsewhere", "1")]


def test_a_folder_that_a_node_does_not_see_is_named(ray, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.setattr("rased.parallel.ray_cluster._some_names", lambda folder: ("only-here.wav",))
    with pytest.raises(RasedError, match=r"node '.*' does not see .*/there': with --engine ray"):
        list(in_order(squared, [1], engine=ray, folders=[tmp_path / "there"]))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_rooms_are_byte_for_byte_those_of_this_machine(ray, tmp_path):
    recipe = RoomRecipe(count=2, seed=5, t60=(0.15, 0.2))
    for name, engine in (("here", None), ("ray", ray)):
        simulate(tmp_path / name, recipe=recipe, jobs=1, engine=engine)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_a_killed_worker_loses_nothing_and_nothing_is_printed(ray, tmp_path, capfd):
    found = in_order(partial(killed, tmp_path), range(8), engine=ray)
    assert list(found) == list(range(8))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "7"]
    assert capfd.readouterr() == ("", "")


def test_ray_is_needed_only_when_it_is_asked_for(monkeypatch, capsys):
    monkeypatch.setattr("rased.parallel.ray_cluster.find_spec", lambda name: None)
    words = ["data", "rooms", "--out", "rooms", "--count", "1", "--seed", "1"]
    assert main([*words, "--engine", "ray"]) == 2
    assert "pip install 'rased[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--address", "auto"], "without --engine ray"),
        (["--jobs", "-1"], "give 1 or more"),
        (["--engine", "ray", "--address", "ray://host:1"], "is not supported"),
        (
            ["--engine", "ray", "--address", "127.0.0.1:9"],
            "No Ray cluster answers at '127.0.0.1:9'",
        ),
        (["--engine", "ray", "--address", "somewhere"], "No Ray cluster answers at 'somewhere'"),
    ],
)
def test_what_does_not_fit_together_is_said(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # by the tests above
    monkeypatch.chdir(tmp_path)
    command = ["data", "rooms", "--out", "rooms", "--count", "1", "--seed", "1"]
    assert main([*command, *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_the_tasks_and_leaves_no_process(tmp_path):
    words = ["data", "rooms", "--out", str(tmp_path / "rooms"), "--count", "1000", "--seed", "1"]
    with ray_folder() as folder:
        command = [sys.executable, "-m", "rased", *words, "--engine", "ray", "--jobs", "1"]
        done = subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True)
        while not list((tmp_path / "rooms").glob("*.part")) and done.poll() is None:
            time.sleep(0.1)
        done.send_signal(signal.SIGINT)
        said = done.communicate()
        while family(str(folder)):  # they end by themselves
            time.sleep(0.1)
    assert (done.returncode, *said) == (130, "", "rased: interrupted\n")

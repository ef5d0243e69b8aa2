"""Metrics out of a loose file: scored as the library's own, in any number of processes, computed again when edited."""

import re
import subprocess
import sys
import time

import pytest
import soundfile

from rased.cli import main
from rased.errors import RasedError
from rased.evaluation import closing, evaluate
from rased.evaluation import result as results
from rased.evaluation.report.terminal import as_plain
from rased.evaluation.scoring import jobs
from rased.evaluation.scoring.run import metric_names
from rased.metrics import METRICS
from rased.models.classical import METHODS
from tests.evaluation.conftest import NAMES

pytestmark = pytest.mark.usefixtures("own")

SOURCE = '''
from beside import SCALE
from rased.metrics import Metric


class Closeness(Metric):
    """One less the mean distance to the target."""

    name, title, range = "closeness", "Closeness", (-10.0, 1.0)

    def measure(self, estimate, target):
        return 1.0 - SCALE * (estimate - target).abs().mean()
'''


@pytest.fixture
def file(tmp_path, monkeypatch):
    """my_metric.py in the working directory, with a module beside it that it imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside.py").write_text("SCALE = 1.0\n")
    path = tmp_path / "my_metric.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop("beside", None)


def expected(folder):
    """The values, computed here."""
    found = {}
    for name in NAMES:
        noisy, target = (
            soundfile.read(folder / p / f"{name}.flac")[0] for p in ("noisy", "target")
        )
        found[name] = pytest.approx(1 - abs(noisy - target).mean(), abs=1e-5)
    return found


@pytest.mark.parametrize("processes", [1, 2])
def test_values_are_those_of_the_class(file, folder, tmp_path, processes):
    words = ["evaluate", "noisy", "--on", str(folder), "--out", "out", "--jobs", str(processes)]
    assert main([*words, "--metrics", "my_metric.py:Closeness", "si-sdr"]) == 0
    row = results.load(tmp_path / "out/noisy--tiny.json")
    assert row.values("closeness") == expected(folder)
    assert row.metrics == ["si-sdr", "closeness"]
    declared = row.protocol["metrics"]["closeness"]
    assert re.fullmatch(r"my_metric\.py [0-9a-f]{16}", declared["version"])
    (board,) = as_plain([row])
    assert board["rows"][0]["metrics"]["closeness"]["count"] == len(NAMES)


def test_a_spawned_process_measures_with_it(file, folder, tmp_path, monkeypatch):
    real = jobs.perform

    def patient(
        batch,
    ):  # this process measures its first utterance last, so that the other measures the rest
        until = time.monotonic() + 120
        while len(list(tmp_path.glob("seen-*"))) < len(NAMES) - len(batch):
            assert time.monotonic() < until, "the other process measures nothing"
            time.sleep(0.01)
        yield from real(batch)

    file.write_text(
        SOURCE.replace(
            "    def measure(self, estimate, target):",
            "    def measure(self, estimate, target):\n"
            "        import pathlib, hashlib\n"
            "        key = hashlib.sha256(estimate.numpy().tobytes()).hexdigest()\n"
            f"        pathlib.Path({str(tmp_path)!r}, f'seen-{{key}}').touch()",
        )
    )
    monkeypatch.setattr("rased.evaluation.scoring.workers.perform", patient)
    (row,) = evaluate(["noisy"], folder, tmp_path, metrics=["my_metric.py:Closeness"], jobs=2)
    assert row.values("closeness") == expected(folder)


def test_an_edited_file_is_computed_again_and_the_same_is_not(file, folder, tmp_path):
    evaluate(["noisy"], folder, tmp_path, metrics=["my_metric.py:Closeness"])
    stored = (tmp_path / "noisy--tiny.json").read_text()
    evaluate(["noisy"], folder, tmp_path, metrics=[f"{file}:Closeness"])
    assert (tmp_path / "noisy--tiny.json").read_text() == stored
    file.write_text(SOURCE.replace("1.0 - SCALE", "0.5 - SCALE"))
    (row,) = evaluate(["noisy"], folder, tmp_path, metrics=["my_metric.py:Closeness"])
    for name, value in expected(folder).items():
        assert row.values("closeness")[name] + 0.5 == value


def test_a_version_of_ones_own_stays_before_that_of_the_file(file):
    file.write_text(SOURCE.replace("    name,", "    version = 'draft 2'\n    name,"))
    assert metric_names(["my_metric.py:Closeness"]) == ("closeness",)
    assert re.fullmatch(r"draft 2, my_metric\.py [0-9a-f]{16}", METRICS["closeness"].version)


def test_silence_and_lack_of_a_value_are_statuses_as_everywhere(file, folder, tmp_path):
    undefined = SOURCE.replace(
        "        return", "        raise Undefined('why not')\n        return"
    )
    file.write_text("from rased.metrics.base import Undefined\n" + undefined)
    (row,) = evaluate(["noisy"], folder, tmp_path, metrics=["my_metric.py:Closeness"])
    statuses = {utterance.scores["closeness"].status for utterance in row.utterances}
    assert statuses == {"undefined: why not"}


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_in_it_is_one_sentence(file, folder, tmp_path, capsys, processes):
    file.write_text(SOURCE.replace("        return", "        print(1 / 0)\n        return"))
    words = ["evaluate", "noisy", "--on", str(folder), "--out", "out", "--jobs", str(processes)]
    assert main([*words, "--metrics", "my_metric.py:Closeness"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith(
        f"the metric '{file}:Closeness' fails: ZeroDivisionError: division by zero."
    )
    assert "Traceback" not in said


def test_the_end_of_a_training_takes_it(file, folder):
    closing.check([str(folder)], ["my_metric.py:Closeness"], METHODS["log-mmse"]())
    assert "closeness" in METRICS
    with pytest.raises(RasedError, match="no class 'Clos'"):
        closing.check([str(folder)], ["my_metric.py:Clos"], METHODS["log-mmse"]())


CLASS = "from rased.metrics import Metric\nclass My(Metric):\n"
MEASURE = "    def measure(self, estimate, target): return 0.0\n"
GOOD = "    name, title, range = 'mine', 'Mine', (0.0, 1.0)\n"


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("absent.py:My", "", r"the file '[^']*absent\.py' cannot be read: no such file"),
        ("folder.py:My", None, r"folder\.py' cannot be read: is a directory"),
        ("mine.py", "", r"'mine\.py' does not name a class: write for example mine\.py:MyMetric"),
        ("mine.py:", "", "does not name a class"),
        ("mine.py:a b", "", "does not name a class"),
        ("mine.py:My", "class Mine: pass", "has no class 'My'; known: Mine"),
        ("mine.py:My", "class My: pass", "mine.py:My' is not a metric: derive the class from"),
        ("mine.py:My", "My = 3", "mine.py:My' is not a metric"),
        ("mine.py:Metric", "from rased.metrics import Metric", "is not a metric"),
        ("mine.py:My", "class My(:", "cannot be imported: SyntaxError: "),
        ("mine.py:My", "import no_such_module", "cannot be imported: ModuleNotFoundError: "),
        ("mine.py:My", "raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("mine.py:My", "a\0b", "cannot be imported: "),
        ("mine.py:My", CLASS + MEASURE, "does not define name and title and range"),
        ("mine.py:My", CLASS + GOOD, r"does not define measure\(self, estimate, target\)"),
        (
            "mine.py:My",
            CLASS + GOOD.replace("'mine'", "'stoi'") + MEASURE,
            "the name 'stoi' .* is taken",
        ),
        (
            "mine.py:My",
            CLASS + GOOD.replace("'mine'", "'quick'") + MEASURE,
            "the name 'quick' .* is taken",
        ),
        ("mine.py:My", CLASS + GOOD.replace("'mine'", "'a/b'") + MEASURE, "is 'a/b'; it must be"),
        ("mine.py:My", CLASS + GOOD.replace("'mine'", "3") + MEASURE, "is 3; it must be"),
        (
            "mine.py:My",
            CLASS + GOOD.replace("'Mine'", "3") + MEASURE,
            "`title` is 3; expected text",
        ),
        (
            "mine.py:My",
            CLASS + GOOD.replace("(0.0, 1.0)", "1") + MEASURE,
            "cannot be made: TypeErr",
        ),
        ("mine.py:My", CLASS + GOOD.replace("(0.0, 1.0)", "(1,)") + MEASURE, "`range` is "),
        ("mine.py:My", CLASS + GOOD + "    direction = 'up'\n" + MEASURE, "`direction` is 'up'"),
        ("mine.py:My", CLASS + GOOD + "    unit = None\n" + MEASURE, "`unit` is None"),
        (
            "mine.py:My",
            CLASS + GOOD + "    sample_rate = 8000\n" + MEASURE,
            "is defined at 8000 Hz",
        ),
        (
            "mine.py:My",
            CLASS + GOOD + "    def __init__(self, k): pass\n" + MEASURE,
            "cannot be made: TypeError: ",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, monkeypatch, word, code, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "mine.py").write_text(code or "")
    before = dict(METRICS)
    with pytest.raises(RasedError, match=said) as refused:
        metric_names([word])
    assert "\n" not in str(refused.value)
    assert before == METRICS


def test_the_leaderboard_says_what_it_does_not_know_and_shows_it_when_told(file, folder, capsys):
    evaluate(["noisy"], folder, "out", metrics=["my_metric.py:Closeness"])
    del METRICS["closeness"]  # as in a process that begins
    assert main(["leaderboard", "out", "--by", "snr_db"]) == 0
    told = capsys.readouterr().out
    assert "Not shown, because this installation does not know it: closeness" in told
    assert "incomplete" not in told
    words = ["leaderboard", "out", "--columns", "my_metric.py:Closeness", "--worst", "1"]
    assert main([*words, "--metric", "my_metric.py:Closeness"]) == 0
    told = capsys.readouterr().out
    assert "Not shown" not in told
    assert "worst Closeness" in told
    assert main([*words[:2], "--columns", "my_metric.py:Closenes"]) == 2


def test_two_files_cannot_bring_one_name(file, tmp_path):
    (tmp_path / "other.py").write_text(SOURCE)
    metric_names(["my_metric.py:Closeness"])
    with pytest.raises(RasedError, match=r"the name 'closeness' .* is taken"):
        metric_names(["other.py:Closeness"])


def test_a_dataclass_and_annotations_of_strings_work_in_it(file):
    extra = "@dataclass\nclass Setting:\n    weight: float = 1.0\n"
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    file.write_text(head + SOURCE + extra)
    assert metric_names(["./my_metric.py:Closeness"]) == ("closeness",)


def test_the_command_line_says_it_in_a_process_of_its_own(file, folder):
    words = ["evaluate", "noisy", "--on", str(folder), "--out", "out", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "rased", *words, "--metrics", "my_metric.py:Closenes"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "has no class 'Closenes'; did you mean 'Closeness'?" in done.stderr
    assert "Traceback" not in done.stderr

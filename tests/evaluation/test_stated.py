"""What a submitter states of enhanced files: in the result, in every table, marked, and read as a stranger's."""

import io
import json
import os
import shutil

import pytest
from rich.console import Console

from rased.errors import RasedError
from rased.evaluation import collect, evaluate, print_table, write_page
from rased.evaluation.comparison.board import boards
from rased.evaluation.report.markdown import markdown
from rased.evaluation.stated import KEYS, read_stated
from tests.evaluation.conftest import METRICS, sentences

SIDECAR = """\
parameters: 48_200
macs_per_second: 33.0e6
algorithmic_latency: 512
buffering: 256
sample_rate: 16000
training_data: VoiceBank-DEMAND <b>| train
paper: A Network
url: https://example.org/network
"""
STATED = {
    "parameters": 48_200,
    "macs_per_second": 33.0e6,
    "algorithmic_latency_ms": 32.0,
    "buffering_ms": 16.0,
    "training_data": "VoiceBank-DEMAND <b>| train",
    "paper": "A Network",
    "url": "https://example.org/network",
}


@pytest.fixture
def theirs(folder, tmp_path):
    """A folder of enhanced files, with a system.yaml beside them."""
    files = tmp_path / "theirs"
    shutil.copytree(folder / "noisy", files)
    (files / "system.yaml").write_text(SIDECAR)
    return files


def printed(rows):
    out = io.StringIO()
    print_table(rows, Console(file=out, width=250))
    return out.getvalue()


def test_it_stands_in_the_result_apart_from_what_is_counted(theirs, folder, tmp_path):
    evaluate([str(theirs), "noisy"], folder, tmp_path / "out", metrics=["si-sdr"])
    rows = collect([tmp_path / "out"])
    noisy, own = sorted(rows, key=lambda row: row.name)
    assert own.system["stated"] == own.stated == STATED
    for counted in ("parameters", "macs_per_second", "latency", "buffering", "causal"):
        assert own.system[counted] is None
    assert "stated" not in noisy.system
    assert len(own.values("si-sdr")) == 6
    assert own.training["unchecked"] == [
        "what it was trained on is stated and cannot be checked: it may have seen this test",
        "whether it is causal is not known",
    ]


def test_every_table_marks_it(theirs, scored, folder, tmp_path):
    evaluate([str(theirs)], folder, tmp_path / "out", metrics=METRICS)
    rows = collect([tmp_path / "out", scored / "log-mmse--tiny.json"])
    told = printed(rows)
    for cell in ("48.2 K†", "33 M†", "48 (32 + 16)†"):
        assert cell in told
        assert cell in markdown(rows)
    (board,) = boards(rows)
    assert "† parameters, MACs/s, latency: stated by the submitter, not measured." in sentences(
        board, "theirs"
    )
    origin = (
        "the submitter states: trained on VoiceBank-DEMAND <b>| train; paper: A Network; "
        "see https://example.org/network."
    )
    assert origin in sentences(board, "theirs")
    assert "†" not in "".join(sentences(board, "log-mmse"))
    assert "VoiceBank-DEMAND <b>" not in markdown(rows)
    page = write_page(rows, tmp_path / "page").read_text(encoding="utf-8")
    assert page.count('title="stated by the submitter, not measured">†') == 3
    assert "VoiceBank-DEMAND <b>" not in page
    assert "parameters, as stated by the submitter" in page
    data = (tmp_path / "page/data.js").read_text(encoding="utf-8")
    (board_data,) = json.loads(data.removeprefix("const DATA = ").rstrip().rstrip(";")).values()
    drawn = next(one for one in board_data["systems"] if one["name"] == "theirs")
    assert set(drawn["costs"].values()) == {None}


def test_another_statement_computes_nothing_again(theirs, folder, tmp_path):
    (before,) = evaluate([str(theirs)], folder, tmp_path, metrics=["si-sdr"])
    (theirs / "system.yaml").write_text("algorithmic_latency_ms: 20\nbuffering_ms: 2.5\n")
    (after,) = evaluate([str(theirs)], folder, tmp_path, metrics=["si-sdr"])
    assert after.stated == {"algorithmic_latency_ms": 20, "buffering_ms": 2.5}
    assert (after.created, after.system["sha256"]) == (before.created, before.system["sha256"])
    assert "22.5 (20 + 2.5)†" in printed([after])
    (theirs / "system.yaml").unlink()
    (without,) = evaluate([str(theirs)], folder, tmp_path, metrics=["si-sdr"])
    assert "stated" not in without.system
    assert "†" not in printed([without])


def test_a_sidecar_alone_is_no_system(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/system.yaml").write_text(SIDECAR)
    with pytest.raises(RasedError, match="is not a system"):
        evaluate([str(tmp_path / "empty")], folder, tmp_path, metrics=["si-sdr"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "must contain keys and values"),
        ("[1]", "must contain keys and values"),
        ("parms: 1", "the key 'parms'; did you mean 'parameters'"),
        ("1: 2", "the key 1; known: "),
        ("name: other", "the key 'name'"),
        ("parameters: 1.5", "`parameters` is 1.5; expected a whole number"),
        ("parameters: -1", "`parameters` is -1"),
        ("parameters: yes", "`parameters` is True"),
        ("parameters: 99999999999999999999", "an integer of 67 bits"),
        ("macs_per_second: .nan", "`macs_per_second` is nan"),
        ("macs_per_second: .inf", "`macs_per_second` is inf"),
        ("macs_per_second: 30 M", "`macs_per_second` is '30 M'; expected a number"),
        ("algorithmic_latency_ms: 1e9\nbuffering_ms: 1", "`algorithmic_latency_ms` is 1000000000"),
        ("buffering_ms: 3", "states buffering but not algorithmic_latency"),
        ("algorithmic_latency: 5\nbuffering: 3", "add sample_rate"),
        (
            "algorithmic_latency: 5\nalgorithmic_latency_ms: 3\nbuffering_ms: 1\nsample_rate: 8000",
            "states both algorithmic_latency and algorithmic_latency_ms",
        ),
        ("sample_rate: 1", "`sample_rate` is 1"),
        ("training_data: [a]", "`training_data` is ['a']; expected text"),
        ("training_data: " + "x" * 301, "`training_data` is 'xxx"),
        ('training_data: "a\\nb"', "`training_data` is 'a\\nb'; expected one line of text"),
        ('paper: "a\\e[31mb"', "`paper` is 'a\\x1b[31mb'; expected one line of text"),
        ("url: javascript:alert(1)", "expected an address"),
        ("url: https://a b", "expected an address"),
        ("parameters: 1\nparameters: 2", "occurs twice"),
        ("parameters: !!python/object/apply:os.system [ls]", "has a tag"),
        ("paper: &a x\nurl: *a", "an anchor or alias"),
        ("x: [" * 100, "system.yaml"),
        ("paper: " + "x" * 70_000, "system.yaml' has 70007 bytes"),
    ],
)
def test_what_cannot_be_is_one_sentence_with_file_and_key(tmp_path, content, said):
    (tmp_path / "system.yaml").write_text(content)
    with pytest.raises(RasedError) as refused:
        read_stated(tmp_path)
    assert said in str(refused.value)
    assert f"'{tmp_path / 'system.yaml'}'" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_is_no_file_is_said(tmp_path, kind):
    place = tmp_path / "system.yaml"
    make = {"folder": place.mkdir, "pipe": lambda: os.mkfifo(place)}
    make.get(kind, lambda: place.symlink_to(tmp_path / "nowhere"))()
    with pytest.raises(RasedError, match=r"system\.yaml' (is not a file|cannot be read)"):
        read_stated(tmp_path)


def test_nothing_is_stated_without_a_value(tmp_path):
    assert read_stated(tmp_path) is None
    (tmp_path / "system.yaml").write_text("".join(f"{key}:\n" for key in KEYS))
    assert read_stated(tmp_path) is None

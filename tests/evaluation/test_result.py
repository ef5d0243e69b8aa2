"""Results: what is written is read back, and what was touched is refused."""

import errno
import json
import os

import pytest

from rased.errors import RasedError
from rased.evaluation import result as results
from rased.metrics import Score


@pytest.fixture
def path(scored, tmp_path):
    copy = tmp_path / "noisy--tiny.json"
    copy.write_text((scored / "noisy--tiny.json").read_text())
    return copy


def test_round_trip_to_the_byte(path, tmp_path):
    result = results.load(path)
    results.save(result, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert list(tmp_path.glob("*.part")) == []


def test_it_says_what_a_row_rests_on(path):
    content = json.loads(path.read_text())
    assert content["schema"] == 3
    assert content["protocol"]["metrics"]["stoi"]["version"].startswith("pystoi ")
    assert content["protocol"]["alignment"] == "none"
    assert content["protocol"]["resampler"] == "none"
    assert len(content["testset"]["list_sha256"]) == 64
    assert content["environment"]["torch"]
    first = content["utterances"][0]
    assert first["id"] == "u0"
    assert first["facts"]["speaker"] == "speaker0"
    assert first["scores"]["stoi"]["status"] == "ok"


def test_a_changed_score_is_refused(path):
    content = json.loads(path.read_text())
    content["utterances"][0]["scores"]["si-sdr"]["value"] += 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(RasedError, match="was changed after it was written"):
        results.load(path)


def test_a_removed_hash_is_refused(path):
    content = json.loads(path.read_text())
    del content["content_sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(RasedError, match="was changed after it was written"):
        results.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 99}', "has schema 99, but this version of rased reads 3"),
        ('{"schema": "3"}', "has schema '3', but this version of rased reads 3"),
        ("[]", "has no schema"),
        ('{"schema": 1,', "is damaged: it is not JSON"),
        ('{"schema": 3, "a": NaN}', "NaN is not a finite number"),
        ('{"schema": 3, "schema": 3}', "occurs twice"),
    ],
)
def test_what_is_no_result_is_refused(path, text, message):
    path.write_text(text)
    with pytest.raises(RasedError, match=message):
        results.load(path)


def rehashed(path, change):
    """Change a result and compute its hash anew, as a careful forger does."""
    content = json.loads(path.read_text())
    del content["content_sha256"]
    change(content)
    content["content_sha256"] = results._digest(content)
    path.write_text(json.dumps(content))


def scores(content):
    return content["utterances"][0]["scores"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: scores(c)["stoi"].update(value=99.0), r"'stoi' of 'u0' is 99, but the metric"),
        (lambda c: scores(c)["stoi"].update(value="1"), "is '1'; expected a number"),
        (lambda c: scores(c)["stoi"].update(value=True), "is True; expected a number"),
        (lambda c: scores(c)["stoi"].update(value=None), "the value None and the status 'ok'"),
        (lambda c: scores(c)["stoi"].update(status="good"), "the status 'good'"),
        (lambda c: scores(c)["stoi"].update(extra=1), "the field .*extra` is unknown"),
        (lambda c: scores(c).update(pesq=scores(c)["stoi"]), "does not declare"),
        (lambda c: c["testset"].update(count=1), "has 6 utterances, but the test set has 1"),
        (lambda c: c["testset"].update(count=10**18), "`testset.count` is 1000000000000000000"),
        (lambda c: c["testset"].update(name="../x"), "`testset.name` is '../x'; expected a name"),
        (lambda c: c["system"].update(name="/x"), "`system.name` is '/x'; expected a name"),
        (lambda c: c["system"].update(kind="x"), "system.kind"),
        (lambda c: c["system"].update(latency="x"), "`system.latency` is 'x'; expected"),
        (lambda c: c["utterances"][1].update(id="a/b"), "expected a name"),
        (lambda c: c["utterances"][1].update(id="u0"), "contains the utterance 'u0' twice"),
        (lambda c: c["utterances"][1].update(seconds=-1), "of at least 0"),
        (lambda c: c["utterances"][1]["facts"].update(snr_db="x"), "facts.snr_db` is 'x'"),
        (
            lambda c: c["utterances"][1].pop("facts"),
            r"the field `utterances\[1\].facts` is missing",
        ),
        (lambda c: c.update(sytem={}), "the field `sytem` is unknown"),
        (lambda c: c.pop("cost"), "the field `cost` is missing"),
        (lambda c: c["cost"].update(real_time_factor=[]), "`cost.real_time_factor` is"),
        (lambda c: c.update(training={}), "the field `training.manifest_sha256` is missing"),
        (lambda c: c.update(protocol=[]), r"`protocol` is \[\]; expected fields"),
        (lambda c: c["protocol"]["metrics"]["stoi"].pop("version"), "the field .* is missing"),
        (lambda c: c["environment"].update(cores="x"), "`environment.cores`"),
        (lambda c: c.update(created="x"), "`created` is 'x'"),
    ],
)
def test_what_cannot_be_is_refused_though_its_hash_is_right(path, change, said):
    rehashed(path, lambda content: None)
    results.load(path)
    rehashed(path, change)
    with pytest.raises(RasedError, match=said) as caught:
        results.load(path)
    assert str(path) in str(caught.value)


def test_means_are_those_of_checked_results_alone(path):
    means = results.mean_scores([path])
    assert means["tiny"]["stoi"] == pytest.approx(
        sum(results.load(path).values("stoi").values()) / 6, abs=1e-4
    )
    path.write_text(path.read_text().replace('"value": 0.', '"value": 0.9', 1))
    with pytest.raises(RasedError, match="was changed"):
        results.mean_scores([path])


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".x"])
def test_names_of_systems_and_test_sets_are_never_paths(name):
    for pair in ((name, "good"), ("good", name)):
        with pytest.raises(RasedError, match="the name of the"):
            results.file_name(*pair)


def test_a_status_is_no_zero(path):
    result = results.load(path)
    result.utterances[0].scores["si-sdr"] = Score(None, "undefined: the target is silent")
    assert "u0" not in result.values("si-sdr")
    assert result.missing("si-sdr") == 0
    assert len(result.values("si-sdr")) == 5


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EFBIG, errno.EACCES])
def test_a_place_that_cannot_be_written_is_named(path, tmp_path, monkeypatch, number):
    result = results.load(path)

    def refuse(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RasedError, match=f"cannot write '{tmp_path}/x.json'"):
        results.save(result, tmp_path / "x.json")

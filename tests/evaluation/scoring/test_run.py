"""Running: values, statuses, resume, processes, other people's files."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from rased.errors import RasedError
from rased.evaluation import evaluate
from rased.evaluation import result as results
from rased.evaluation.scoring import jobs, run, workers
from rased.evaluation.scoring.systems import fingerprint, resolve
from rased.evaluation.testset import read_testset
from rased.machine import processor
from rased.metrics import METRICS as ALL_METRICS
from rased.models.classical import LogMMSE
from rased.signal.ratios import si_sdr
from tests.evaluation.conftest import METRICS, NAMES, write_set


@pytest.fixture
def counted(monkeypatch):
    """Every job that is really done."""
    done = []
    real = workers.perform

    def counting(batch):
        for job, outcome in zip(batch, real(batch), strict=True):
            done.append((job.system.name, job.item.id, job.metrics))
            yield outcome

    monkeypatch.setattr(workers, "perform", counting)
    return done


def test_scores_are_those_of_the_metric(scored, folder):
    content = json.loads((scored / "noisy--tiny.json").read_text())
    for row in content["utterances"]:
        noisy, target = (
            torch.from_numpy(soundfile.read(folder / part / f"{row['id']}.flac")[0])
            for part in ("noisy", "target")
        )
        expected = float(si_sdr(estimate=noisy[None], target=target[None])[0])
        assert row["scores"]["si-sdr"]["value"] == pytest.approx(expected, abs=1e-4)


def test_the_target_is_perfect_and_cost_is_that_of_enhancing(scored):
    target = json.loads((scored / "target--tiny.json").read_text())
    assert all(row["scores"]["stoi"]["value"] > 0.9999 for row in target["utterances"])
    classical = json.loads((scored / "log-mmse--tiny.json").read_text())
    assert 0 < classical["cost"]["real_time_factor"] < 5
    assert classical["cost"]["batch_gain"] > 0.2
    assert classical["cost"]["processor"] == processor()
    assert 1 < classical["cost"]["peak_memory_mb"] < 500
    assert set(target["cost"].values()) == {None}
    assert classical["system"]["latency"] == LogMMSE().latency


def test_saved_audio_scores_the_same_as_a_folder_of_files(scored, folder, tmp_path):
    files = scored / "audio" / "tiny" / "log-mmse"
    copy = tmp_path / "theirs"
    shutil.copytree(files, copy)
    (theirs,) = evaluate([str(copy)], folder, tmp_path, metrics=METRICS)
    assert theirs.system["kind"] == "files"
    ours = json.loads((scored / "log-mmse--tiny.json").read_text())
    for row in ours["utterances"]:
        assert theirs.values("stoi")[row["id"]] == pytest.approx(
            row["scores"]["stoi"]["value"], abs=2e-3
        )


def test_what_is_finished_is_not_computed_again(folder, tmp_path, counted):
    evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr",))
    assert len(counted) == 6
    evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr",))
    assert len(counted) == 6
    (row,) = evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr", "stoi"))
    assert counted[6:] == [("noisy", name, ("stoi",)) for name in NAMES]
    assert row.metrics == ["stoi", "si-sdr"]
    assert len(row.values("si-sdr")) == len(row.values("stoi")) == 6


def test_an_interruption_keeps_what_is_done(folder, tmp_path, counted, monkeypatch):
    counting = workers.perform

    def interrupted(batch):
        if len(counted) == 4:
            raise KeyboardInterrupt
        yield from counting(batch)

    monkeypatch.setattr(workers, "perform", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr",))
    monkeypatch.setattr(workers, "perform", counting)
    (row,) = evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr",))
    assert [name for _, name, _ in counted] == NAMES
    assert list(row.values("si-sdr")) == NAMES


def test_another_version_of_a_metric_is_computed_again(folder, tmp_path, counted, monkeypatch):
    evaluate(["noisy"], folder, tmp_path, metrics=METRICS)
    monkeypatch.setattr(type(run.METRICS["si-sdr"]), "version", "rased 2")
    evaluate(["noisy"], folder, tmp_path, metrics=METRICS)
    assert counted[6:] == [("noisy", name, ("si-sdr",)) for name in NAMES]


def test_another_test_set_or_system_starts_over(folder, tmp_path, counted):
    evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr",))
    other = write_set(tmp_path / "tiny", names=NAMES[:3])
    evaluate(["noisy"], other, tmp_path, metrics=("si-sdr",))
    assert len(counted) == 9
    files = tmp_path / "theirs"
    shutil.copytree(other / "noisy", files)
    evaluate([str(files)], other, tmp_path, metrics=("si-sdr",))
    shutil.copyfile(files / "u0.flac", files / "u1.flac")
    evaluate([str(files)], other, tmp_path, metrics=("si-sdr",))
    assert len(counted) == 15


def test_a_tampered_result_is_said_and_computed_again(folder, tmp_path, counted, capsys):
    evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr",))
    path = tmp_path / "noisy--tiny.json"
    path.write_text(path.read_text().replace('"ok"', '"OK"', 1))
    evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr",))
    assert len(counted) == 12
    assert "was changed after it was written" in capsys.readouterr().err


def test_two_processes_give_what_one_gives(scored, folder, tmp_path):
    testset = read_testset(folder)
    systems = [resolve(name, testset) for name in ("noisy", "log-mmse")]
    run.score(systems, testset, tmp_path, METRICS, jobs=2, cost=False)
    for name in ("noisy--tiny.json", "log-mmse--tiny.json"):
        one, two = (json.loads((place / name).read_text()) for place in (scored, tmp_path))
        assert one["utterances"] == two["utterances"]


def test_files_that_are_wrong_have_a_status(folder, tmp_path):
    files = tmp_path / "theirs"
    shutil.copytree(folder / "noisy", files)
    (files / "u0.flac").write_bytes(b"no audio")
    soundfile.write(files / "u1.flac", np.zeros(100), 16_000)
    soundfile.write(files / "u2.flac", np.zeros(19_200), 16_000)
    audio, rate = soundfile.read(files / "u3.flac")
    soundfile.write(files / "u3.flac", audio[:-160], rate)
    (row,) = evaluate([str(files)], folder, tmp_path, metrics=("si-sdr",))
    statuses = {u.id: u.scores["si-sdr"].status for u in row.utterances}
    assert statuses["u0"].startswith("undefined: ")
    assert "u0.flac" in statuses["u0"]
    assert "has 100 samples, but its target has 19200" in statuses["u1"]
    assert statuses["u2"] == "undefined: the estimate is silent"
    assert statuses["u3"] == statuses["u4"] == "ok"


def test_without_targets_intrusive_metrics_are_unavailable(folder, tmp_path):
    shutil.copytree(folder / "noisy", tmp_path / "wild" / "noisy")
    (row,) = evaluate(["noisy"], tmp_path / "wild", tmp_path, metrics=("si-sdr",))
    scores = {u.scores["si-sdr"].status for u in row.utterances}
    assert scores == {"unavailable: the test set has no target"}


def test_another_rate_is_resampled_and_said(tmp_path):
    other = write_set(tmp_path / "wide", names=NAMES[:2], sample_rate=48_000)
    (row,) = evaluate(["noisy"], other, tmp_path, metrics=("si-sdr",))
    assert row.protocol["resampler"].endswith("HQ, 48000 to 16000 Hz")
    assert len(row.values("si-sdr")) == 2


def test_wrong_words(folder, tmp_path):
    with pytest.raises(
        RasedError, match="there is no checkpoint or method 'log-mse'; did you mean 'log-mmse'"
    ):
        evaluate(["log-mse"], folder, tmp_path)
    with pytest.raises(RasedError, match="did you mean 'stoi' or 'estoi'"):
        evaluate(["noisy"], folder, tmp_path, metrics=("stoii",))
    with pytest.raises(RasedError, match="give 1 or more, or 0 for one per core"):
        evaluate(["noisy"], folder, tmp_path, jobs=-1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RasedError, match="has neither checkpoints/"):
        evaluate([str(tmp_path / "empty")], folder, tmp_path)
    shutil.copytree(folder / "noisy", tmp_path / "some")
    (tmp_path / "some" / "u5.flac").unlink()
    with pytest.raises(RasedError, match="lacks 'u5' of the test set 'tiny'"):
        evaluate([str(tmp_path / "some")], folder, tmp_path)


def test_names_of_metrics_and_of_lists():
    assert set(run.metric_names(["full"])) == set(ALL_METRICS)
    assert not any(ALL_METRICS[name].unavailable() for name in run.metric_names(["default"]))
    assert run.metric_names(["quick", "stoi", "pesq-wb"]) == ("pesq-wb", "estoi", "si-sdr", "stoi")
    with pytest.raises(RasedError, match="did you mean 'quick'"):
        run.metric_names(["quik"])


def test_the_default_list_takes_what_is_installed_and_no_more(monkeypatch):
    similarity = type(ALL_METRICS["speaker-similarity"])
    for todo in ("", "pip install resemblyzer"):
        monkeypatch.setattr(similarity, "unavailable", lambda self, todo=todo: todo)
        assert ("speaker-similarity" in run.metric_names(["default"])) == (not todo)


def test_fingerprints_tell_settings_and_weights_apart():
    assert fingerprint(LogMMSE()) == fingerprint(LogMMSE())
    assert fingerprint(LogMMSE()) != fingerprint(LogMMSE(smoothing=0.9))
    assert fingerprint(LogMMSE()) != fingerprint(LogMMSE(hop_length=256))
    with_weights = LogMMSE()
    with_weights.register_parameter("scale", torch.nn.Parameter(torch.ones(1)))
    before = fingerprint(with_weights)
    with torch.no_grad():
        with_weights.scale.mul_(2.0)
    assert fingerprint(with_weights) != before


def test_folders_are_told_apart(folder, tmp_path):
    testset = read_testset(folder)
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    assert resolve(str(tmp_path / "mine"), testset).kind == "run"
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "card.yaml").write_text("schema: 99\n")
    with pytest.raises(RasedError, match="has schema 99"):
        resolve(str(tmp_path / "entry"), testset)
    assert resolve(str(folder / "noisy"), testset).kind == "files"


def test_a_delay_is_measured_and_taken_out_only_if_asked(folder, tmp_path):
    late = tmp_path / "late"
    late.mkdir()
    for path in (folder / "target").glob("*.flac"):
        samples, rate = soundfile.read(path)
        soundfile.write(late / path.name, 2 * np.concatenate([np.zeros(320), samples[:-320]]), rate)
    (plain,) = evaluate([str(late)], folder, tmp_path / "plain", metrics=["si-sdr"])
    (aligned,) = evaluate([str(late)], folder, tmp_path / "aligned", metrics=["si-sdr"], align=True)
    for utterance in (*plain.utterances, *aligned.utterances):
        assert utterance.measured["delay_ms"] == 20.0
    first = plain.utterances[0]
    noisy, output = (soundfile.read(p / f"{first.id}.flac")[0] for p in (folder / "noisy", late))
    expected = 10 * np.log10((output**2).mean() / (noisy**2).mean())
    assert first.measured["level_db"] == pytest.approx(expected, abs=0.01)
    assert max(plain.values("si-sdr").values()) < 0 < 10 < min(aligned.values("si-sdr").values())
    assert plain.protocol["alignment"] == "none"
    assert aligned.protocol["alignment"] == "delays up to 0.25 s taken out"


def test_what_is_said_comes_from_the_manifest(tmp_path):
    folder = write_set(tmp_path / "tiny", names=NAMES[:2])
    assert [item.text for item in read_testset(folder).items] == [None, None]
    (folder / "manifest.csv").write_text("id,text\nu0,one two\nu1,\n")
    assert [item.text for item in read_testset(folder).items] == ["one two", None]
    unavailable = jobs._score("wer", torch.ones(16_000), torch.ones(16_000), None)
    assert unavailable.status == (
        "unavailable: the test set does not say what is said (a column `text`)"
    )


def test_the_protocol_holds_what_each_metric_declares(tmp_path):
    folder = write_set(tmp_path / "tiny", names=NAMES[:1])
    (row,) = evaluate(["noisy"], folder, tmp_path, metrics=("si-sdr", "lsd"))
    assert row.protocol["metrics"]["lsd"] == ALL_METRICS["lsd"].declaration()
    stored = json.loads((tmp_path / "noisy--tiny.json").read_text())
    assert stored["protocol"]["metrics"]["lsd"]["range"] == [0.0, None]
    assert stored["protocol"]["metrics"]["si-sdr"]["blind_to"] == ["level", "offset"]


def test_an_earlier_result_with_utterances_of_nowhere_keeps_none_of_them(folder, tmp_path):
    evaluate(["noisy"], folder, tmp_path, metrics=["si-sdr"])
    path = tmp_path / "noisy--tiny.json"
    row = results.load(path)
    row.utterances[0].id = "elsewhere"
    results.save(row, path)
    (again,) = evaluate(["noisy"], folder, tmp_path, metrics=["si-sdr"])
    assert sorted(u.id for u in again.utterances) == NAMES

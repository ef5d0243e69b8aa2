"""What a finished run leaves, read back from disk: the offline file of Weights & Biases, results, zoo entry."""

import csv
import hashlib
import json
import shlex
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

import rased
from rased.cli import main
from rased.data.shards.index import bundle
from rased.errors import ProblemsFound
from rased.evaluation import closing
from rased.evaluation.result import load
from rased.zoo.runs import load_run

pytestmark = pytest.mark.usefixtures("little_cost")

SMALL = (
    *("-c", "model/gru-mask", "-c", "data/bundle", "-c", "trainer/cpu"),
    *("--model.enhancer.network.hidden", "16", "--model.enhancer.network.expansion", "16"),
    *("--data.samples_per_epoch", "24", "--data.validation_samples", "4", "--data.batch_size", "4"),
    *("--data.cache", "ram", "--trainer.log_every_n_steps", "2", "--run.examples", "1"),
)
METRICS = ("pesq-wb", "estoi", "si-sdr")


@pytest.fixture(scope="module")
def testset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mixtures of the bundled test set, and one in which nobody speaks."""
    folder = tmp_path_factory.mktemp("sets") / "three"
    for part in ("noisy", "target"):
        (folder / part).mkdir(parents=True)
        for name in ("0000", "0001"):
            path = sorted((bundle() / "frozen" / part).glob("*.flac"))[int(name)]
            shutil.copy(path, folder / part / f"{name}.flac")
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(folder / "noisy" / "0002.flac", noise, 16_000)
    soundfile.write(folder / "target" / "0002.flac", 0 * noise, 16_000)
    facts = "id,snr_db,speaker\n0000,5.0,ann\n0001,0.0,ben\n0002,,\n"
    (folder / "manifest.csv").write_text(facts)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, testset: Path) -> Path:
    """A finished run, tracked by Weights & Biases with no key, no terminal, no way out and no home."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DATA_DIR"):
            patch.delenv(name, raising=False)
        for name in ("WANDB_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
        patch.setenv("HOME", str(home))
        patch.setattr("rased.cli.train._MOST_JOBS", 1)  # more would import PyTorch each
        patch.setattr("builtins.input", lambda *words: pytest.fail("asked for something"))
        words = [*SMALL, "--runs", str(folder.parent), "--name", folder.name]
        words += ["--trainer.max_epochs", "2", "--run.evaluate", f"[{testset}]"]
        assert main(["train", *words]) == 0
    assert not list(home.rglob("*artifact*"))
    return folder


def records(folder: Path, launch: int = 0) -> list[Any]:
    """Everything that the offline file of a launch holds, in order.

    The service of Weights & Biases may still write its end when `finish` has come back.
    """
    path = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))[launch]
    deadline = time.monotonic() + 60
    while not (found := parsed(path)) or found[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < deadline, "the file has no end"
        time.sleep(0.1)
    return found


def parsed(path: Path) -> list[Any]:
    """The whole records of a file."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for data in leveldb_records(path.read_bytes()[7:], offset=7):
        found.append(wandb_internal_pb2.Record())
        found[-1].ParseFromString(data)
    return found


def leveldb_records(log: bytes, offset: int, block: int = 32_768) -> Iterator[bytes]:
    """Records of a LevelDB log: fragments of crc (4), length (2), kind (1: whole, 4: last), data."""
    at, parts = 0, b""
    while at + 7 <= len(log):
        if block - (at + offset) % block < 7:  # the rest of a block too short for a header
            at += block - (at + offset) % block
            continue
        length, kind = struct.unpack("<HB", log[at + 4 : at + 7])
        if at + 7 + length > len(log):
            return
        parts += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def entries(items: Any) -> dict[str, Any]:
    """Keys and values of a part of a record."""
    found: dict[str, Any] = {}
    for item in items:
        first, *rest = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if rest:
            found.setdefault(first, {})["/".join(rest)] = value
        else:
            found[first] = value
    return found


def media(folder: Path, value: dict[str, Any]) -> Path:
    """The file of a logged value; its hash is the one that was logged."""
    path = min((folder / "wandb").glob("offline-run-*")) / "files" / value["path"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == value["sha256"]
    return path


@pytest.fixture(scope="module")
def history(run: Path) -> list[dict[str, Any]]:
    """Rows of the history."""
    return [row for record in records(run) if (row := entries(record.history.item))]


def test_the_configuration_is_the_whole_one(run: Path) -> None:
    told: dict[str, Any] = {}
    for record in records(run):
        told |= entries(record.run.config.update)
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert {name: told[name] for name in config} == config


def test_the_curves_are_those_of_metrics_csv(run: Path, history: list[dict[str, Any]]) -> None:
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "valid/loss", "train/lr", "speed/audio_seconds_per_second"):
        wanted = [float(row[name]) for row in rows if row[name]]
        assert [row[name] for row in history if name in row] == pytest.approx(wanted)
        assert len(wanted) >= 2


def test_the_health_of_the_data(history: list[dict[str, Any]]) -> None:
    rows = [row for row in history if "train/loss" in row]
    assert all(0 <= row["speed/waiting_share"] <= 1 for row in rows)
    assert all(row["speed/audio_seconds_per_second"] > 0 for row in rows)
    assert [row["data/skipped"] for row in rows] == [0] * len(rows)
    for name in ("data/rooms_mb", "data/spectra_mb", "data/recordings_mb"):
        sizes = [row[name] for row in rows]
        assert 0 < sizes[0] < 1000
    assert sizes == sorted(sizes)  # what is decoded stays


def test_examples_to_hear_and_to_see(run: Path, history: list[dict[str, Any]]) -> None:
    (row,) = (row for row in history if "examples/0/estimate" in row)
    heard = media(run, row["examples/0/estimate"])
    (kept,) = (run / "audio").glob("0-epoch-*.wav")
    assert heard.read_bytes() == kept.read_bytes()
    seen = media(run, row["examples/0/spectrograms"])
    assert seen.read_bytes()[:4] == b"\x89PNG"
    assert row["examples/0/spectrograms"]["height"] > 100


def test_the_table_has_a_row_an_utterance(
    run: Path, testset: Path, history: list[dict[str, Any]]
) -> None:
    (value,) = (row["evaluation/three"] for row in history if "evaluation/three" in row)
    assert value["_type"] == "table-file"
    content = json.loads(media(run, value).read_text())
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    assert [row["id"] for row in rows] == ["0000", "0001", "0002"]
    assert [row["speaker"] for row in rows] == ["ann", "ben", None]
    assert [row["snr_db"] for row in rows] == [5.0, 0.0, None]
    for system, suffix in (("small", ""), ("noisy", " noisy")):
        result = load(run / "results" / f"{system}--three.json")
        assert result.metrics == list(METRICS)
        for metric in METRICS:
            scores = {one.id: one.scores[metric].value for one in result.utterances}
            column = {row["id"]: row[f"{metric}{suffix}"] for row in rows}
            assert column == pytest.approx(scores, abs=1e-5)
    assert [row["status"] == "ok" for row in rows] == [True, True, False]
    assert rows[2]["si-sdr"] is None
    assert "si-sdr noisy: undefined" in rows[2]["status"]


def test_the_summary_has_the_means(run: Path) -> None:
    summary: dict[str, Any] = {}
    for record in records(run):
        summary |= entries(record.summary.update)
    for system, suffix in (("small", ""), ("noisy", "/noisy")):
        result = load(run / "results" / f"{system}--three.json")
        for metric in METRICS:
            values = result.values(metric)
            mean = sum(values.values()) / len(values)
            assert summary[f"evaluation/three/{metric}{suffix}"] == pytest.approx(mean, abs=1e-5)


def test_the_artifact_is_the_entry_with_its_card(run: Path) -> None:
    (artifact,) = (r.artifact for r in records(run) if r.artifact.type == "model")
    assert artifact.name == "small"
    entry = run / "zoo" / "small"
    files = {content.path: Path(content.local_path) for content in artifact.manifest.contents}
    assert files.keys() == {path.name for path in entry.iterdir()}
    assert files.keys() >= {"card.yaml", "model.safetensors"}
    for name, path in files.items():
        assert path.read_bytes() == (entry / name).read_bytes()
        assert run in path.parents  # it is whole where the run is whole
    card = yaml.safe_load(files["card.yaml"].read_text())
    assert json.loads(artifact.metadata) == card
    assert card["scores"]["three"].keys() == set(METRICS)


def test_the_entry_is_the_best_checkpoint(run: Path) -> None:
    noisy = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    estimate = rased.load(str(run / "zoo" / "small"))(noisy)
    torch.testing.assert_close(estimate, load_run(run)(noisy), rtol=0, atol=0)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run once more, without what its end made."""
    folder = shutil.copytree(run, tmp_path / "small", ignore=shutil.ignore_patterns("wandb"))
    shutil.rmtree(folder / "results")
    shutil.rmtree(folder / "zoo")
    return folder


def test_what_fails_at_the_end_says_how_to_do_it_by_hand_and_the_rest_is_done(
    copy: Path, testset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*words: Any, **more: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(closing, "evaluate", broken)
    with pytest.raises(ProblemsFound) as failure:
        closing.close(copy, testsets=[str(testset)], metrics=["si-sdr"], jobs=1, tracker=None)
    said = str(failure.value)
    assert f"'{copy}' is trained and kept, but the evaluation on '{testset}' failed" in said
    assert "OSError: no more processes. By hand: rased evaluate noisy" in said
    assert (copy / "zoo" / "small" / "card.yaml").is_file()
    assert main(shlex.split(said.split("By hand: rased ")[1].removesuffix("."))) == 0
    result = load(copy / "results" / "small--three.json")
    assert (len(result.utterances), result.metrics) == (3, ["si-sdr"])


def test_an_entry_of_an_earlier_end_is_not_uploaded_as_the_weights_of_this_one(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []

    def logged(tracker: Any, folder: Path, files: Any, *, metadata: Any) -> None:
        sent.append([path.name for path in files])

    def broken(*words: Any, **more: Any) -> None:
        raise OSError("no space left")

    tracker: Any = "a run of Weights & Biases"
    monkeypatch.setattr(closing, "log_files", logged)
    closing.close(copy, testsets=[], metrics=[], jobs=1, tracker=tracker)
    for part in ("publish", "load_run"):
        monkeypatch.setattr(closing, part, broken)
        with pytest.raises(ProblemsFound, match="but the zoo entry failed: OSError: no space"):
            closing.close(copy, testsets=[], metrics=[], jobs=1, tracker=tracker)
    assert "card.yaml" in sent[0]
    assert sent[1:] == [["best.ckpt", "config.yaml"]] * 2


def test_an_end_that_cannot_be_is_said_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *SMALL, "--runs", str(tmp_path), "--name", "never"]
    assert main([*words, "--run.evaluate", f"[{tmp_path}/nowhere]"]) == 2
    assert "the test set" in capsys.readouterr().err
    assert main([*words, "--run.metrics", "[quikc]"]) == 2
    assert "did you mean 'quick'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_never_validated_is_left_as_it_is(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "checkpoints" / "best.ckpt").unlink()
    closing.close(copy, testsets=["bundle"], metrics=["quick"], jobs=1, tracker=None)
    assert "not evaluated" in capsys.readouterr().err
    assert not (copy / "results").exists()


def test_a_run_that_goes_on_logs_what_it_then_is(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last here, for it changes the run."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("rased.cli.train._MOST_JOBS", 1)
    assert main(["train", "--resume", str(run), "--trainer.max_epochs", "3"]) == 0
    assert len(list((run / "wandb").glob("offline-run-*"))) == 2
    (artifact,) = (r.artifact for r in records(run, 1) if r.artifact.type == "model")
    (earlier,) = (r.artifact for r in records(run) if r.artifact.type == "model")
    assert artifact.name == earlier.name
    files = {content.path: Path(content.local_path) for content in artifact.manifest.contents}
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    card = yaml.safe_load(files["card.yaml"].read_text())
    assert card["training"]["steps"] == best["global_step"]
    digest = hashlib.sha256(files["model.safetensors"].read_bytes()).hexdigest()
    assert card["files"]["model.safetensors"] == digest
    result = load(run / "results" / "small--three.json")
    sha256 = hashlib.sha256((run / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    assert result.system["checkpoint_sha256"] == sha256

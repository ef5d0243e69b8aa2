"""A test set of six short mixtures in a plain folder, and results on it."""

import copy
import csv
import dataclasses

import numpy as np
import pytest
import soundfile

from rased.evaluation import evaluate
from rased.evaluation.scoring import own_metrics
from rased.metrics import METRICS as METRICS_BY_NAME
from rased.metrics import Score

METRICS = ("si-sdr", "stoi")
NAMES = [f"u{index}" for index in range(6)]


def speechlike(index, seconds=1.2):
    rng = np.random.default_rng(index)
    time = np.arange(int(16_000 * seconds)) / 16_000
    pitch = 2 * np.pi * np.cumsum(110 + 10 * index + 20 * np.sin(2 * np.pi * time)) / 16_000
    voice = sum(np.cos(k * pitch + rng.uniform(0, 6)) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * (2.5 + 0.1 * index) * time), 0.02, None)
    return 0.05 * voice * syllables


def write_set(folder, names=NAMES, reference="target", sample_rate=16_000):
    for part in ("noisy", reference):
        (folder / part).mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "condition", "snr_db", "speaker"])
        for index, name in enumerate(names):
            clean = speechlike(index)
            noise = (
                0.01 * 1.6**index * np.random.default_rng(100 + index).standard_normal(len(clean))
            )
            soundfile.write(folder / reference / f"{name}.flac", clean, sample_rate)
            soundfile.write(folder / "noisy" / f"{name}.flac", clean + noise, sample_rate)
            table.writerow([name, "noise", 15 - 3 * index, f"speaker{index % 2}"])
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A plain test set called "tiny"."""
    return write_set(tmp_path_factory.mktemp("sets") / "tiny")


@pytest.fixture
def own(monkeypatch):
    """Metrics out of files are forgotten after the test."""
    monkeypatch.setattr(own_metrics, "_REGISTERED", {})
    before = dict(METRICS_BY_NAME)
    yield
    for name in METRICS_BY_NAME.keys() - before:
        del METRICS_BY_NAME[name]


@pytest.fixture(scope="session")
def scored(folder, tmp_path_factory):
    """Folder with results (and audio) of noisy, target and log-mmse."""
    out = tmp_path_factory.mktemp("results")
    evaluate(["noisy", "target", "log-mmse"], folder, out, metrics=METRICS, save_audio=True)
    return out


def named(rows, name):
    return next(row for row in rows if row.name == name)


def grown(row, times=8):
    """The same result with each utterance several times over: enough to tell a difference."""
    more = copy.deepcopy(row)
    more.utterances = [
        dataclasses.replace(copy.deepcopy(u), id=f"{u.id}-{k}")
        for k in range(times)
        for u in more.utterances
    ]
    more.testset["count"] = len(more.utterances)
    return more


def shifted(row, name, **by):
    """Another system whose scores differ by so much."""
    other = copy.deepcopy(row)
    other.system.update(name=name, kind="files")
    for utterance in other.utterances:
        for metric, step in by.items():
            score = utterance.scores[metric.replace("_", "-")]
            utterance.scores[metric.replace("_", "-")] = Score(score.value + step)
    return other


def measured(row, metric, value, spread=0.01):
    """The same result with one more metric, whose values lie evenly around `value`."""
    row.protocol["metrics"][metric] = {"version": "x"}
    for place, utterance in enumerate(row.utterances):
        utterance.scores[metric] = Score(value + spread * (place % 5 - 2))


def sentences(board, name):
    """What is marked beside a row."""
    return [m.sentence for row in board.rows if row.name == name for m in row.marks]


def said_by(row, speakers):
    """The same result, its utterances shared out over so many speakers."""
    other = copy.deepcopy(row)
    for place, utterance in enumerate(other.utterances):
        utterance.facts["speaker"] = f"s{place % speakers}"
    return other

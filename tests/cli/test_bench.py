import argparse
import json
import sys

import pytest

from rased.cli import main
from rased.cli.bench import VERBS
from rased.cli.bench.train import _bare, _batch, figures
from rased.export import litert
from rased.models.registry import model_config
from rased.training.checkpoint import build_module
from tests.evaluation.conftest import write_set
from tests.export.conftest import enhancer, folder, graph  # noqa: F401
from tests.zoo.conftest import made, put, shelf  # noqa: F401


@pytest.fixture
def entry(shelf, put):  # noqa: F811
    return put(shelf / "tiny")


@pytest.mark.slow
def test_memory_of_a_long_file_is_flat(entry, capsys):
    words = ["bench", "memory", "--job", "enhance", "--hours", "0.5", "--model", str(entry)]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["enhance"]
    assert figures["input_mb"] == pytest.approx(0.5 * 3600 * 32_000 / 1e6, rel=0.01)
    assert 50 < figures["peak_mb"] < 700
    assert figures["peak_mb"] - figures["imported_mb"] < 200
    assert figures["slope_mb_per_gb"] < 500


@pytest.mark.slow
def test_memory_of_a_corpus_is_flat(capsys):
    jobs = ("pack", "frames", "load", "verify", "info")
    words = [word for job in jobs for word in ("--job", job)]
    assert main(["bench", "memory", *words, "--hours", "0.8", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() == set(jobs)
    assert figures["pack"]["input_mb"] == pytest.approx(0.8 * 3600 * 32_000 / 1e6, rel=0.01)
    for job in figures.values():
        assert 30 < job["peak_mb"] < 500
        assert job["slope_mb_per_gb"] * (7 / 8) * job["input_mb"] / 1000 < 16


@pytest.mark.slow
def test_memory_of_packing_one_long_file(capsys):
    """Two hours, 230 MB; what is held is the sample as it is stored."""
    assert main(["bench", "memory", "--job", "long", "--hours", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["long"]["peak_mb"] < 500


@pytest.mark.slow
def test_speed_of_frames(capsys):
    assert main(["bench", "frames", "--rounds", "1", "--mixtures", "20", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() == {"log_power", "mixtures", "read_windows", "read_utterances"}
    assert figures["log_power"] > 200
    assert min(figures.values()) > 50


def test_speed_of_a_checkpoint(entry, capsys, monkeypatch):
    monkeypatch.delenv(litert.VARIABLE, raising=False)
    assert main(["bench", "inference", "--model", str(entry), "--seconds", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["tiny"]
    assert figures["chunk_ms"] == 16.0
    assert 0 < figures["file"]
    assert 0 < figures["stream"]
    assert 0 < figures["stream_p50_ms"] <= figures["stream_p99_ms"]
    assert 0 < figures["onnx_p50_ms"] <= figures["onnx_p99_ms"]
    assert "RASED_LITERT is not the Python of an environment" in figures["litert"]
    assert "rased export NAME --to litert" in figures["litert"]


def test_what_cannot_be_measured_says_why(folder, capsys):  # noqa: F811
    words = ["bench", "inference", "--seconds", "0.1", "--json", "--model"]
    assert main([*words, str(folder)]) == 0
    (figures,) = json.loads(capsys.readouterr().out).values()
    assert 0 < figures["onnx_p50_ms"] <= figures["onnx_p99_ms"]
    assert "stream" not in figures
    assert "name the checkpoint that it was made from" in figures["litert"]


@pytest.mark.slow
def test_litert_stands_beside_the_others(entry, capsys):
    if not litert.installed():
        pytest.skip(f"{litert.VARIABLE} is not set: {litert.RECIPE}")
    assert main(["bench", "inference", "--model", str(entry), "--seconds", "1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["tiny"]
    assert 0 < figures["litert_p50_ms"] <= figures["litert_p99_ms"]


@pytest.mark.slow
def test_streams_of_a_checkpoint(entry, capsys):
    words = ["bench", "streams", "--model", str(entry), "--seconds", "0.1", "--together", "3"]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() == {"tiny", "tiny, 3 in a graph"}
    for streams in figures.values():
        assert streams["streams"] > 0
        assert streams["slowest_round_ms"] <= streams["chunk_ms"]
    assert figures["tiny, 3 in a graph"]["streams"] % 3 == 0


@pytest.mark.slow
def test_speed_of_an_evaluation(tmp_path, capsys):
    testset = write_set(tmp_path / "tiny", names=["a", "b"])
    words = ["bench", "evaluate", "--on", str(testset), "--system", "noisy", "wiener"]
    assert main([*words, "--metrics", "si-sdr", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() == {"processes", "wiener"}
    processes, batches = figures["processes"], figures["wiener"]
    assert processes["faster"] == processes["one_s"] / processes["two_s"]
    assert 1 < processes["one_cpu_s"] < processes["two_cpu_s"]
    assert batches["difference"] < 1e-5
    assert batches["batches"] <= 2
    assert batches["faster"] == batches["alone_s"] / batches["batched_s"]


def test_speed_of_the_loader_on_a_few_recordings(capsys):
    words = ["bench", "loader", "--items", "3", "--rounds", "1", "--batch-size", "2", "--json"]
    assert main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    loading = {"decode_only", "flac_load", "pcm16_load", "ram_load"}
    mixing = {"flac_mix_cpu", "pcm16_mix_cpu"}
    assert figures.keys() == loading | mixing | {"flac_workers_1", "flac_workers_2"}
    assert min(figures.values()) > 0
    assert main([*words[:3], "0", *words[4:]]) == 2
    assert "1 or more" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_training_is_measured_against_a_plain_loop():
    sizes = {"batch_size": 1, "seconds": 0.25, "steps": 2, "rounds": 1}
    found = figures("fastenhancer-t", **sizes, device="cpu", compile=False)
    assert found.keys() == {"trainer", "bare", "overhead", "peak_mb", "mb_per_second"}
    assert found["overhead"] == pytest.approx(found["bare"] / found["trainer"] - 1)
    assert found["mb_per_second"] == 4 * found["peak_mb"]
    assert found["bare"] > 0


def test_the_plain_loop_runs_where_the_batch_is():
    """Lightning leaves a network on the CPU, also after a training on a GPU."""
    module = build_module(model_config("fastenhancer-t"))
    module.loss_of = lambda prediction, batch: prediction.estimate.sum()  # no autocast on "meta"
    assert _bare(module, _batch(1, 4000, "meta"), 1, module.enhancer.predict) > 0
    assert {str(item.device) for item in module.enhancer.parameters()} == {"meta"}


def test_a_training_that_fails_is_shown_and_gives_exit_code_1(capsys, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    assert main(["bench", "train", "--model", "gtcrn", "gru-mask", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["gru-mask"] == {"failed": "exit status 1"}
    assert "2 of 2 measurements failed: gtcrn, gru-mask." in shown.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nothing-like-it"], "no architecture matches 'nothing-like-it'"),
        (["--model", "gtcrn", "gtcnr"], "no architecture matches 'gtcnr'"),
    ],
)
def test_a_training_that_cannot_be_measured_is_one_sentence(words, said, capsys):
    assert main(["bench", "train", *words]) == 2
    assert said in capsys.readouterr().err


def _numbers():
    """Every numeric option of every benchmark, with its type."""
    for name, (module, _) in VERBS.items():
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        for action in parser._actions:
            if action.type in (int, float):
                yield name, action.option_strings[0], action.type


@pytest.mark.parametrize(("benchmark", "option", "kind"), [*_numbers()])
def test_a_number_that_is_not_positive_is_one_sentence(benchmark, option, kind, capsys):
    for value in ("0", "-1") if kind is int else ("0", "-1", "nan", "inf"):
        assert main(["bench", benchmark, f"{option}={value}"]) == 2
        said = f"{option} is {value}: give {'1 or more' if kind is int else 'more than 0'}."
        assert said in capsys.readouterr().err


def test_a_position_after_the_epoch_is_one_sentence(capsys):
    assert main(["bench", "resume", "--at", "1"]) == 2
    assert "--at is 1: give a share below 1" in capsys.readouterr().err

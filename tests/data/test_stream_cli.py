"""`rased data stream`: the same lines whatever reads them."""

import json

import numpy as np
import pytest

from rased.cli import main
from rased.data.shards.index import read_index
from tests.data.conftest import write_corpus

WORDS = ["data", "stream", "-c", "data/bundle", "--samples", "3:15"]


def _lines(capsys, *more):
    assert main([*WORDS, *more]) == 0
    return capsys.readouterr().out.splitlines()


def test_lines_do_not_depend_on_workers_or_ranks(capsys):
    alone = _lines(capsys, "--hashes")
    assert len(alone) == len({line.split("\t")[-1] for line in alone}) == 12
    assert _lines(capsys, "--hashes", "--workers", "2", "--world-size", "3") == alone
    assert _lines(capsys, "--hashes", "--epoch", "1") != alone


def test_json_holds_what_was_drawn(capsys):
    row = json.loads(_lines(capsys, "--json")[0])
    assert row["index"] == 3
    assert -5 <= row["snr_db"] <= 15
    assert row["key"].startswith("train-")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--samples", "5:5"], "range of indices"),
        (["--samples", "x"], "range of indices"),
        (["--samples", "0:99999"], "an epoch has 1600"),
        (["--samples", "0:8", "--workers", "-2"], "--workers is -2; it must be 0 or more"),
        (["--samples", "0:8", "--world-size", "0"], "--world-size is 0; it must be 1 or more"),
        (["--samples", "0:8", "--epoch", "-1"], "--epoch is -1; it must be 0 or more"),
        (
            ["--samples", "0:8", "--epoch", "5000000"],
            "--epoch is 5000000; the largest epoch is 524287",
        ),
    ],
)
def test_wrong_ranges_are_named(capsys, words, sentence):
    assert main(["data", "stream", "-c", "data/bundle", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", [1, 16])
def test_what_cannot_be_read_is_named_and_the_exit_code_tells(tmp_path, capsys, batch_size):
    random = np.random.default_rng(2)
    recordings = [("train", "a", 0.1 * random.standard_normal(9_000)) for _ in range(6)]
    recordings.append(("valid", "b", recordings[0][2][::-1]))
    folder = write_corpus(tmp_path / "speech", "speech", recordings)
    index = read_index(folder)
    with (folder / "train-000000.tar").open("r+b") as file:
        file.seek(int(index.columns["offset"][2]))
        file.write(b"no longer FLAC")
    (tmp_path / "data.yaml").write_text(
        "data:\n  class_path: rased.data.datamodule.MixtureDataModule\n"
        f"  init_args: {{speech: [{folder}], scene: {{segment: 0.5}}, batch_size: {batch_size}}}\n"
    )
    words = ["data", "stream", "-c", str(tmp_path / "data.yaml"), "--samples", "0:6", "--hashes"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 5
    assert f"skipped: Sample {index.columns['key'][2]} of" in said.err
    assert "1 of 6 samples could not be read and are missing from the list" in said.err

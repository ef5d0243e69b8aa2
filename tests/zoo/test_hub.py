"""The Hugging Face Hub, as a replica on this machine; and PyTorch Hub."""

from pathlib import Path

import pytest
import torch
import yaml

import rased
from rased import fetch
from rased.cli import main
from rased.errors import RasedError
from rased.shelves import cache
from rased.zoo.card import CARD
from rased.zoo.hub import card_url, write_repository
from tests.zoo.test_importable import Quiet, site  # noqa: F401 (a fixture)

ROOT = Path(__file__).parents[2]


def changed(entry: Path, **fields) -> Path:
    card = yaml.safe_load((entry / CARD).read_text())
    (entry / CARD).write_text(yaml.safe_dump({**card, **fields}))
    return entry


@pytest.fixture
def pushable(entry):
    """An entry whose card says all that a repository needs."""
    return changed(entry, licence={"code": "Apache-2.0", "weights": "CC0-1.0", "data": ["CC0-1.0"]})


def test_a_pushed_folder_is_loaded_from_a_replica_of_the_hub(pushable, site, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", site.serve())
    out = site.folder / "org" / "small" / "resolve" / "main"
    assert main(["zoo", "push", "tiny", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    pushable.rename(pushable.with_name("moved"))
    enhancer = rased.load("hf://org/small")
    assert enhancer.card["name"] == "tiny"
    assert (cache() / "tiny" / CARD).is_file()
    noisy = torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = rased.load(pushable.with_name("moved"))(noisy)
        torch.testing.assert_close(enhancer(noisy), wanted, rtol=0, atol=0)
    asked = len(Quiet.asked)
    assert rased.load("hf://org/small@main").card["name"] == "tiny"
    assert len(Quiet.asked) == asked


def test_the_readme_says_licence_and_scores_as_the_hub_reads_them(pushable, tmp_path):
    out = write_repository(pushable, tmp_path / "out")
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    said = yaml.safe_load(front)
    assert (said["license"], said["library_name"]) == ("cc0-1.0", "rased")
    (model,) = said["model-index"]
    (result,) = model["results"]
    assert result["dataset"] == {"name": "frozen", "type": "frozen"}
    assert result["metrics"] == [{"type": "pesq-wb", "name": "pesq-wb", "value": 1.5}]
    assert "frozen: pesq-wb 1.50" in text
    names = {path.name for path in out.iterdir()}
    files = {"README.md", CARD, "model.safetensors", "golden.safetensors"}
    assert names == files | {".eval_results"}
    with pytest.raises(RasedError, match="exists; choose another name or add --replace"):
        write_repository(pushable, tmp_path / "out")


def test_the_scores_are_written_as_leaderboards_of_the_hub_read_them(pushable, site, capsys):  # noqa: F811
    """One file for each test set, of a list of results; read back from a replica of the Hub."""
    scores = {
        "frozen": {"pesq-wb": 1.5, "stoi": None, "si-sdr": -3.25},
        "VoiceBank+DEMAND": {"pesq-wb": 2},
    }
    changed(pushable, scores=scores)
    out = site.folder / "people" / "tiny"
    words = ["zoo", "push", "tiny", "--out", str(out), "--org", "people"]
    assert main([*words, "--dataset", "VoiceBank+DEMAND=others/VoiceBank"]) == 0
    assert "hf upload people/tiny" in capsys.readouterr().err
    assert 'rased.load("hf://people/tiny")' in (out / "README.md").read_text()
    served = f"{site.serve()}/people/tiny/.eval_results"
    read = {
        name: yaml.safe_load(fetch.read(f"{served}/{name}.yaml", largest=1 << 16))
        for name in ("frozen", "VoiceBank-DEMAND")
    }
    for rows in read.values():
        assert all(row.keys() == {"dataset", "value", "source"} for row in rows)
        assert {row["source"]["url"] for row in rows} == {"https://huggingface.co/people/tiny"}
    said = {
        name: [(*r["dataset"].values(), r["value"]) for r in rows] for name, rows in read.items()
    }
    assert said == {
        "frozen": [("people/frozen", "pesq-wb", 1.5), ("people/frozen", "si-sdr", -3.25)],
        "VoiceBank-DEMAND": [("others/VoiceBank", "pesq-wb", 2)],
    }
    assert [*read["frozen"][0]["dataset"]] == ["id", "task_id"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("frozen=x", "'x' is not a dataset of the Hub: write --dataset frozen=ORG/NAME"),
        ("frozen", "write TESTSET=ORG/NAME"),
        ("frosen=a/b", "no scores on 'frosen'; did you mean 'frozen'"),
    ],
)
def test_a_dataset_that_is_not_one_of_the_hub_is_one_sentence(
    pushable, tmp_path, capsys, word, said
):
    words = ["zoo", "push", "tiny", "--out", str(tmp_path / "out"), "--dataset", word]
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scores": {}}, "lacks scores"),
        ({"licence": {"code": "MIT"}}, "lacks the licence of its weights and the licence of its"),
        ({"latency": 5}, "says latency 5, but the model has"),
    ],
)
def test_what_says_too_little_is_not_pushed(pushable, tmp_path, fields, said):
    with pytest.raises(RasedError, match=said):
        write_repository(changed(pushable, **fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "address",
    ["hf://x", "hf://", "hf://a/b/c", "hf://../x", "hf://a/b@", "hf://a/b?c", "hf:///a/b"],
)
def test_what_is_no_repository_is_one_sentence(address):
    with pytest.raises(RasedError, match="write hf://ORG/NAME"):
        rased.load(address)


def test_another_hub_and_revision(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8000/")
    assert card_url("hf://a/b@v1.2") == "http://127.0.0.1:8000/a/b/resolve/v1.2/card.yaml"


def test_pytorch_hub_gives_what_load_gives(entry):
    enhancer = torch.hub.load(str(ROOT), "load", "tiny", source="local")
    assert enhancer.card["name"] == "tiny"

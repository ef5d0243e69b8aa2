import hashlib
import json
import shutil
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

import rased
from rased.cli import main
from rased.data.shards.index import bundle, read_index
from rased.errors import RasedError
from rased.zoo.card import read_card
from rased.zoo.loading import verify
from rased.zoo.origin import read as read_origin_of
from rased.zoo.publish import publish
from tests.zoo.conftest import SPEC, tiny, write_tiny
from tests.zoo.test_loading import resign

CONFIG: dict[str, Any] = {
    "trainer": {"accumulate_grad_batches": 2, "default_root_dir": "/somewhere/on/this/disk"},
    "data": {
        "class_path": "rased.data.datamodule.MixtureDataModule",
        "init_args": {
            "speech": ["bundle"],
            "noise": ["bundle"],
            "rir": ["bundle"],
            "scene": {"segment": 4.0},
            "batch_size": 16,
        },
    },
}


@pytest.fixture(autouse=True)
def free_macs(monkeypatch):
    monkeypatch.setattr("rased.zoo.publish.macs_per_second", lambda enhancer, condition=None: 1e6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What `rased train` leaves behind, as far as publishing reads it."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    (folder / "checkpoints").mkdir(parents=True)
    content = {
        "state_dict": {f"average.{key}": value for key, value in tiny().state_dict().items()},
        "hyper_parameters": {"enhancer": SPEC},
        "global_step": 450,
        "epoch": 3,
    }
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "launches.yaml").write_text(yaml.safe_dump([launch(0, CONFIG)]))
    return folder


def launch(step, config, *, world_size=1):
    """An entry of launches.yaml."""
    entry = dict(step=step, epoch=0, position=0, batch=0, batches_per_epoch=100, corpora={})
    entry |= dict(batch_size=16, world_size=world_size, accumulate_grad_batches=2, config=config)
    return entry


def test_a_run_of_several_launches_tells_them_all(run, tmp_path, shelf):
    """Two launches before the published step, one behind it."""
    configs = [deepcopy(CONFIG) for _ in range(3)]
    for number, config in enumerate(configs):
        config["data"]["init_args"]["seed"] = number
    several = tmp_path / "several"
    shutil.copytree(run, several)
    entries = [
        launch(0, configs[0]),
        launch(400, configs[1], world_size=4) | {"git": "b" * 40},
        launch(460, configs[2]) | {"git": "c" * 40},
    ]
    (several / "launches.yaml").write_text(yaml.safe_dump(entries))
    folder = publish(several, "mine", shelf)
    published = yaml.safe_load((folder / "training.yaml").read_text())
    assert published["data"]["init_args"]["seed"] == 1
    told = yaml.safe_load((folder / "launches.yaml").read_text())
    assert [(one["step"], one["config"]["data"]["init_args"]["seed"]) for one in told] == [
        (0, 0),
        (400, 1),
    ]
    assert "/somewhere" not in (folder / "launches.yaml").read_text()
    card = read_card(folder)
    assert card["files"].keys() >= {"launches.yaml", "training.yaml"}
    seconds = (400 + 50 * 4) * 16 * 2 * 4
    assert card["training"]["audio_hours"] == round(seconds / 3600, 2)
    assert card["training"]["git"] == "b" * 40, (
        "the commit that trained, not the one that publishes"
    )


def test_a_run_whose_beginning_is_not_told_has_no_hours(run, tmp_path, shelf):
    later = tmp_path / "later"
    shutil.copytree(run, later)
    (later / "launches.yaml").write_text(yaml.safe_dump([launch(10, CONFIG)]))
    card = read_card(publish(later, "mine", shelf))
    assert card["training"]["audio_hours"] is None


def test_a_run_becomes_an_entry_that_loads_and_says_where_it_comes_from(run, shelf):
    folder = publish(run, "mine-16k", shelf, summary="a small mask")
    noisy = torch.randn(1, 2000, generator=torch.Generator().manual_seed(0))
    enhancer = rased.load("mine-16k")
    torch.testing.assert_close(enhancer(noisy), tiny().eval()(noisy), atol=0, rtol=0)

    card = read_card(folder)
    assert card["name"] == "mine-16k"
    assert card["summary"] == "a small mask"
    assert card["parameters"] == sum(p.numel() for p in tiny().parameters())
    assert card["training"]["steps"] == 450
    assert card["training"]["audio_hours"] == 450 * 16 * 2 * 4 / 3600
    assert "CC-BY-3.0" in card["licence"]["data"]
    assert "/somewhere" not in (folder / "training.yaml").read_text()
    licences = (bundle() / "LICENSES.md").read_text().strip()
    assert (folder / "ATTRIBUTIONS.md").read_text().strip() == licences


def test_attributions_of_the_checkpoint_that_a_run_started_from_stay(run, tmp_path, shelf):
    """Its data are in the new weights, too; a text that both have is there once."""
    first, _ = read_origin_of(publish(run, "first", shelf))
    licences = (bundle() / "LICENSES.md").read_text().strip()
    assert first.attributions.strip() == licences
    later = tmp_path / "later"
    shutil.copytree(run, later)
    replace(first, attributions=f"{licences}\n\nvoices of the older corpus\n").save(later)
    text = (publish(later, "second", shelf) / "ATTRIBUTIONS.md").read_text()
    assert text == f"{licences}\n\nvoices of the older corpus\n"
    path = later / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"]["_class_path"] = "rased.training.waveform.WaveformEnhancement"
    torch.save(content, path)
    third, _ = read_origin_of(later)
    assert third.attributions == text, "so it is for a run that starts from this run"


def test_the_manifest_names_what_was_trained_on_and_nothing_of_the_test_split(run, shelf):
    folder = publish(run, "mine", shelf)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.keys() == {"train", "valid"}
    for role in ("speech", "noise", "rir"):
        index = read_index(bundle() / role)
        columns = {name: np.array(index.values(name)) for name in ("key", "split", "label")}
        for split in ("train", "valid"):
            wanted = columns["key"][columns["split"] == split].tolist()
            assert manifest[split][role]["keys"] == sorted(wanted)
            wanted = columns["label"][columns["split"] == split].tolist()
            assert manifest[split][role]["labels"] == sorted(set(wanted))


def test_a_manifest_that_the_run_kept_goes_before_the_data_of_today(run, shelf):
    kept = {"train": {"speech": {"recordings": 1, "hours": 1.0, "sha256": "0", "licences": ["X"]}}}
    (run / "manifest.json").write_text(json.dumps(kept))
    try:
        folder = publish(run, "mine", shelf)
    finally:
        (run / "manifest.json").unlink()
    assert json.loads((folder / "manifest.json").read_text()) == kept
    assert read_card(folder)["licence"]["data"] == ["X"]


def test_the_weights_name_the_manifest(run, shelf):
    """Neither a manifest that is changed with its hash in the card, nor weights of another one, get in."""
    folder = publish(run, "mine", shelf)
    content = (folder / "manifest.json").read_bytes()
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        assert weights.metadata() == {"manifest_sha256": hashlib.sha256(content).hexdigest()}
    resign(folder, "manifest.json", content.replace(b"train-", b"xtrain-"))
    with pytest.raises(RasedError, match="is not the manifest of the weights"):
        rased.load("mine")
    assert not verify(folder)[0].passed
    resign(folder, "manifest.json", content)
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["training"]["data"]["train"]["noise"]["recordings"] -= 1
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(RasedError, match=r"does not match training\.data in the card"):
        rased.load("mine")


def test_what_a_checkpoint_names_goes_before_the_last_manifest(run, tmp_path, shelf):
    bound = tmp_path / "bound"
    shutil.copytree(run, bound)
    part = {"recordings": 1, "hours": 1.0, "sha256": "0", "licences": ["X"]}
    first = json.dumps({"train": {"speech": part}}).encode()
    digest = hashlib.sha256(first).hexdigest()
    (bound / f"manifest-{digest[:12]}.json").write_bytes(first)
    (bound / "manifest.json").write_text("{}")
    path = bound / "checkpoints" / "best.ckpt"
    torch.save({**torch.load(path, weights_only=True), "manifest_sha256": digest}, path)
    assert (publish(bound, "mine", shelf) / "manifest.json").read_bytes() == first


def test_a_name_that_is_taken_is_replaced_only_when_asked(run, shelf):
    before = (publish(run, "mine", shelf, summary="first") / "card.yaml").read_bytes()
    with pytest.raises(RasedError, match="exists; choose another name, or add --replace"):
        publish(run, "mine", shelf, summary="second")
    assert (shelf / "mine" / "card.yaml").read_bytes() == before
    publish(run, "mine", shelf, summary="second", replace=True)
    assert read_card(shelf / "mine")["summary"] == "second"


def test_what_does_not_verify_is_not_published(shelf, monkeypatch):
    monkeypatch.setattr(
        "rased.zoo.loading.streamed", lambda enhancer, noisy, condition, **_: noisy + 1
    )
    with pytest.raises(RasedError, match="was not published: stream equals file"):
        write_tiny(shelf / "broken")
    assert list(shelf.iterdir()) == []


def test_the_table_of_the_readme(entry, put, shelf, capsys):
    other = put(shelf / "whole-file")
    card = yaml.safe_load((other / "card.yaml").read_text())
    none = dict.fromkeys(("latency", "algorithmic_latency", "buffering"))
    card |= none | {"causal": False, "scores": {}, "macs_per_second": None, "purpose": "noise"}
    (other / "card.yaml").write_text(yaml.safe_dump(card))
    assert main(["zoo", "list", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    wanted = [
        "| name | for | from | parameters | MACs/s | latency (ms) | kHz | licence | pesq-wb (frozen) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| `tiny` |  | own | 4.95 K | 1 M | 48 (32 + 16) | 16 | CC0-1.0 | 1.50 |",
        "| `whole-file` | noise | own | 4.95 K | ? | whole file | 16 | CC0-1.0 |  |",
    ]
    assert lines[:2] == wanted[:2]
    assert set(wanted[2:]) <= set(lines)


def test_an_attenuation_limit_chosen_after_training(run, tmp_path):
    free, limited = (
        rased.load(publish(run, name, tmp_path, attenuation_limit_db=limit))
        for name, limit in (("free", None), ("limited", 6.0))
    )
    noisy = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    share = 10 ** (-6 / 20)
    with torch.inference_mode():
        expected = (1 - share) * free(noisy) + share * noisy
        torch.testing.assert_close(limited(noisy), expected, rtol=0, atol=1e-5)
    settings = read_card(tmp_path / "limited")["enhancer"]["init_args"]["post_processing"]
    assert settings["attenuation_limit_db"] == 6.0

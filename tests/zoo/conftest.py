import shutil

import pytest
import torch
import yaml

from rased.building import build
from rased.models.base import Enhancer
from rased.zoo.card import CARD
from rased.zoo.publish import write_entry

SPEC = {
    "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
    "init_args": {
        "features": {"kinds": ["log_power"]},
        "inputs": {"normalisation": "none"},
        "network": {
            "class_path": "rased.models.gru.NSNet2",
            "init_args": {"hidden": 8, "layers": 1, "expansion": 8},
        },
        "target": "ratio_mask",
        "stft": {"n_fft": 512, "hop_length": 256, "win_length": 512},
    },
}


def tiny():
    torch.manual_seed(7)
    return build(Enhancer, SPEC)


def write_tiny(folder, **changes):
    facts = {
        "enhancer": tiny(),
        "spec": SPEC,
        "summary": "a tiny mask for tests",
        "paper": "none",
        "licence": {"code": "Apache-2.0", "weights": "CC0-1.0", "data": []},
        "training": {"audio_hours": 0.5},
        "scores": {"frozen": {"pesq-wb": 1.5}},
    }
    return write_entry(folder, **{**facts, **changes})


@pytest.fixture(autouse=True)
def shelf(tmp_path, monkeypatch):
    """An empty zoo of its own: neither the project's nor a cache of the user's."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setenv("RASED_ZOO", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("rased.shelves._PACKAGE", tmp_path / "package")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The entry that every test gets a copy of; counting its MACs is left to the models' tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rased.zoo.publish.macs_per_second", lambda enhancer, condition=None: 1e6)
        return write_tiny(tmp_path_factory.mktemp("made") / "tiny")


@pytest.fixture
def put(made):
    """Put a copy of the entry somewhere; the last part of the path becomes its name."""

    def copy(folder):
        shutil.copytree(made, folder)
        card = yaml.safe_load((folder / CARD).read_text())
        card["name"] = folder.name
        (folder / CARD).write_text(yaml.safe_dump(card))
        return folder

    return copy


@pytest.fixture
def entry(shelf, put):
    return put(shelf / "tiny")

"""Packages offer their public classes and functions, and cost nothing until one is used."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import rased
from rased import data, losses, models, signal
from rased.errors import RasedError
from rased.layers.network import Network
from rased.losses.base import Loss
from rased.models.base import Enhancer, Several
from rased.models.classical.frames import DecisionDirected, FrameGain
from rased.models.gru import NSNet2
from rased.signal.stft import STFT

PACKAGES = {"models": models, "losses": losses, "signal": signal, "data": data}


def defined_below(package):
    """Public classes and functions of every module of a package, by name."""
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) == info.name and not name.startswith("_"):
                yield name, value


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_that_is_offered_is_there(name):
    package = PACKAGES[name]
    assert set(package.__all__) <= set(dir(package))
    for word in package.__all__:
        value = getattr(package, word)
        assert word.isupper() or value.__name__ == word
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_what_a_user_builds_with_is_offered():
    found = {
        name
        for name, value in defined_below(losses)
        if inspect.isclass(value) and issubclass(value, Loss)
    }
    assert found <= set(losses.__all__)
    kinds = (Enhancer, Network)
    found = {
        name
        for name, value in defined_below(models)
        if inspect.isclass(value) and issubclass(value, kinds)
    }
    bases = {one.__name__ for one in (FrameGain, DecisionDirected, Several)}
    assert found - bases <= set(models.__all__)
    found = {name for name, value in defined_below(signal) if inspect.isfunction(value)}
    assert found <= set(signal.__all__)


def test_nothing_heavy_is_imported_before_it_is_used():
    code = "import sys, rased, rased.models, rased.losses, rased.signal, rased.data; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_models_by_name():
    assert rased.list_models("conv*causal*") == ["conv-tasnet-causal", "conv-tasnet-causal-small"]
    assert rased.list_models("nothing*") == []
    assert {"gtcrn", "nsnet2"} <= set(rased.list_models())


def test_keyword_arguments_override_what_the_yaml_says():
    plain, changed = rased.create_model("gtcrn"), rased.create_model("gtcrn", channels=8)
    assert plain.card is None
    assert sum(p.numel() for p in changed.parameters()) < sum(p.numel() for p in plain.parameters())
    masked = rased.create_model(
        "lstm-psm-small", hidden=24, stft={"hop_length": 128}, sample_rate=8_000
    )
    assert (masked.network.recurrent.hidden_size, masked.stft) == (24, STFT(hop_length=128))
    assert masked.sample_rate == 8_000
    whole = rased.create_model(
        "gru-mask", stft=STFT(320, 160, 320), network={"init_args": {"hidden": 8}}
    )
    assert whole.stft.freq == 161
    assert isinstance(whole.network, NSNet2)
    assert whole.network.recurrent.hidden_size == 8


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("gtcnr", {}, "unknown architecture 'gtcnr'; did you mean 'gtcrn'"),
        ("gtcrn", {"chanels": 8}, "did you mean 'channels'?"),
        ("lstm-psm", {"hiden": 8}, "did you mean 'hidden'?"),
        ("gtcrn", {"channels": "many"}, "channels"),
        ("../data/mini", {}, "unknown architecture"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(name, overrides, sentence):
    with pytest.raises(RasedError, match=sentence):
        rased.create_model(name, **overrides)

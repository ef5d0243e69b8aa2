"""The closed table: every public part of rased that a configuration may name, and nothing else."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import rased.losses
import rased.models
from rased.building import build, verify
from rased.classes import KNOWN, OWN, STRANGERS, allowing, packages
from rased.errors import RasedError
from rased.layers.network import Network
from rased.losses.base import Loss
from rased.models.base import Enhancer

_BASES = {
    *("Enhancer", "SpectralEnhancer", "Several", "FrameGain", "DecisionDirected"),
    *("Loss", "SpectralLoss"),
}


def parts() -> set[str]:
    """Dotted names of all public enhancers, networks and losses of rased that are complete."""
    found = set()
    for package in (rased.models, rased.losses):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, cls in vars(importlib.import_module(module.name)).items():
                ours = inspect.isclass(cls) and issubclass(cls, Enhancer | Network | Loss)
                if ours and cls.__module__ == module.name and name not in _BASES and name[0] != "_":
                    found.add(f"{module.name}.{name}")
    return found


def test_every_part_of_rased_is_in_the_table() -> None:
    assert parts() <= KNOWN.keys()


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_row_of_the_table_is_a_class(name: str) -> None:
    cls = STRANGERS.find(name)
    assert f"{cls.__module__}.{cls.__qualname__}" == name
    room, last = ".".join(name.split(".")[:2]), name.rpartition(".")[2]
    assert STRANGERS.find(f"{room}.{last}") is cls


DANGEROUS = [
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "builtins.open",
    "importlib.import_module",
    "rased.config.os.system",
    "rased.models.gru.nn.Linear",
    "rased.models.gru.NSNet2.__init__",
    "rased.cli.main",
    "torch.hub.load",
    "antigravity.x.Y",
    "rased.models.gru..NSNet2",
    "../os.system",
    "os.system\0",
    "rased.models.gru.NSNet2\n",
    "",
    ".",
    "x",
    None,
    3,
    ["os.system"],
    {"class_path": "os.system"},
]


@pytest.mark.parametrize("path", DANGEROUS, ids=repr)
def test_nothing_else_is_found_or_imported(path: object) -> None:
    before = set(sys.modules)
    with pytest.raises(RasedError):
        STRANGERS.find(path)
    assert set(sys.modules) == before


def test_a_package_that_is_allowed_brings_its_own_classes_alone(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "friendly"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text("from subprocess import Popen\nclass Net: pass\n")
    (tmp_path / "friendlyish.py").write_text("class Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    trusted = allowing(["friendly"])
    assert trusted.find("friendly.net.Net").__name__ == "Net"
    for path in ("friendly.net.Popen", "friendlyish.Net", "os.system"):
        with pytest.raises(RasedError, match="not"):
            trusted.find(path)
    for word in ("", "a b", "-x", "../a"):
        with pytest.raises(RasedError, match="takes names of packages"):
            allowing([word])


def test_packages_of_a_configuration() -> None:
    spec = {"class_path": "mine.a.B", "init_args": {"x": [{"class_path": "other.C"}], "y": 1}}
    assert packages(spec) == ("mine", "other")
    assert packages({"class_path": "rased.models.gru.NSNet2"}) == ()


STRINGS = [
    "{class_path: os.system, init_args: {command: touch MARK}}",
    "!!python/object/apply:os.system ['touch MARK']",
    "rased.models.gru.NSNet2",
    "os.system",
]


@pytest.mark.parametrize("text", STRINGS)
@pytest.mark.parametrize("own", [False, True])
def test_a_string_never_becomes_an_object(text: str, own: bool) -> None:
    classes = OWN if own else STRANGERS
    enhancer = "rased.models.frequency.FrequencyDomainEnhancer"
    network = {"class_path": "rased.models.gru.NSNet2", "init_args": {"hidden": 8}}
    places = ["network", "features", "inputs", "phase", "post_processing", "stft", "residual"]
    for place in places:
        spec = {"class_path": enhancer, "init_args": {"network": network, place: text}}
        for check in (build, verify):
            with pytest.raises(RasedError, match=rf"^{place} is "):
                check(Enhancer, spec, classes=classes)
    for place in ("hidden", "layers"):
        inner = {**network, "init_args": {place: text}}
        spec = {"class_path": enhancer, "init_args": {"network": inner}}
        with pytest.raises(RasedError, match=rf"^network\.{place} is "):
            build(Enhancer, spec, classes=classes)
    with pytest.raises(RasedError, match="needs a class_path"):
        build(Enhancer, text, classes=classes)


def test_loading_a_card_imports_neither_lightning_nor_a_parser() -> None:
    code = (
        "import sys, rased; rased.load('gru-mask-16k')\n"
        "print(*sorted({'pytorch_lightning', 'jsonargparse', 'wandb', 'webdataset'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

"""Configuration: what builds, what is refused, and what the refusal says."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rased.building import build, check_arguments
from rased.classes import STRANGERS
from rased.cli import main
from rased.config import config_folder, config_names, find_config, load_configs, merge, override
from rased.errors import RasedError
from rased.losses.base import Loss
from rased.models.base import Enhancer
from rased.signal.stft import STFT
from rased.training.base import Enhancement

STFT_PATH = "rased.signal.stft.STFT"
MODELS = sorted((config_folder() / "model").glob("*.yaml"))


@dataclass(frozen=True)
class Inner:
    width: int = 3


@dataclass(frozen=True)
class Outer:
    """A value with everything that a configuration may nest."""

    inner: Inner = Inner()
    maybe: Inner | None = None
    stft: STFT | None = None
    loss: Loss | None = None
    losses: list[Loss] = field(default_factory=list)
    free: dict[str, int] = field(default_factory=dict)


OUTER = f"{__name__}.Outer"


def outer(**arguments: Any) -> dict[str, Any]:
    return {"class_path": OUTER, "init_args": arguments}


def test_builds_nested_dataclasses_specs_and_lists() -> None:
    loss = {"class_path": "rased.losses.waveform.SNR", "init_args": {"threshold_db": 20}}
    made = build(
        Outer,
        outer(
            inner={"width": 5},
            maybe={"width": 7},
            stft={"hop_length": 128},
            loss=loss,
            losses=[loss, {"class_path": "rased.losses.waveform.L1"}],
            free={"anything": 1},
        ),
    )
    assert made.inner == Inner(5)
    assert made.maybe == Inner(7)
    assert made.stft == STFT(hop_length=128)
    assert made.loss.threshold_db == 20  # type: ignore[union-attr]
    assert [type(item).__name__ for item in made.losses] == ["SNR", "L1"]
    assert made.free == {"anything": 1}


@pytest.mark.parametrize("held", [1, {}, [], None, {"deep": {}}], ids=repr)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda held: outer(iner=held), "'iner'.*'inner'"),
        (lambda held: outer(inner={"widht": held}), "'widht'.*'width'"),
        (lambda held: outer(maybe={"widht": held}), "'widht'.*'width'"),
        (lambda held: outer(stft={"hop_lenght": held}), "'hop_lenght'.*'hop_length'"),
        (
            lambda held: outer(
                loss={"class_path": "rased.losses.waveform.SNR", "init_args": {"treshold_db": held}}
            ),
            "'treshold_db'.*'threshold_db'",
        ),
        (
            lambda held: outer(
                losses=[{"class_path": "rased.losses.waveform.SNR", "init_arg": held}]
            ),
            "'init_arg'.*'init_args'",
        ),
        (
            lambda held: outer(
                loss={
                    "class_path": "rased.losses.spectral.OnSTFT",
                    "init_args": {
                        "loss": {
                            "class_path": "rased.losses.spectral.CompressedSpectrum",
                            "init_args": {"exponnent": held},
                        }
                    },
                }
            ),
            "'exponnent'.*'exponent'",
        ),
    ],
)
def test_misspelt_key_is_named_with_the_nearest(
    place: Callable[[Any], Mapping[str, Any]], message: str, held: Any
) -> None:
    with pytest.raises(RasedError, match=message):
        build(Outer, place(held))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("rased.signal.stft.SFTT", "did you mean 'rased.signal.stft.STFT'"),
        ("rased.signal.stf.STFT", "'rased.signal.stft.STFT'"),
        ("rased.models.gtcrn.GTCNR", "'rased.models.gtcrn.GTCRN'"),
        ("STFT", "class_path is 'STFT'; write a dotted name, such as rased.signal.stft.STFT"),
        ("nowhere.at.all", "there is no class 'nowhere.at.all'"),
        ("rased.signal.stft.rearrange", "there is no class"),
        ("", "class_path is ''"),
        (3, "class_path is 3"),
    ],
)
def test_misspelt_class_is_named_with_the_nearest(path: Any, message: str) -> None:
    with pytest.raises(RasedError, match=message):
        build(STFT, {"class_path": path})


def test_a_class_of_another_kind_is_refused() -> None:
    with pytest.raises(RasedError, match=r"'rased\.losses\.waveform\.SNR' is not a STFT"):
        build(STFT, {"class_path": "rased.losses.waveform.SNR"})


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(RasedError, match=r"^hop_length is 'many'; it must be a whole number\.$"):
        build(STFT, {"class_path": STFT_PATH, "init_args": {"hop_length": "many"}})
    with pytest.raises(RasedError, match=r"^stft\.window is 'flat'; .* one of 'sqrt_hann', 'hann'"):
        build(Outer, outer(stft={"class_path": STFT_PATH, "init_args": {"window": "flat"}}))


def test_an_error_of_ours_comes_through_as_it_is() -> None:
    spec = {"class_path": STFT_PATH, "init_args": {"hop_length": 600}}
    with pytest.raises(RasedError, match=r"^STFT lengths do not fit"):
        build(STFT, spec)
    with pytest.raises(RasedError, match=r"^STFT lengths do not fit"):
        build(Outer, outer(stft={"hop_length": 600}))


@pytest.mark.parametrize(
    "spec",
    [
        {"class_path": "os.system"},
        {"class_path": "antigravity.Flight"},
        {"class_path": "rasedx.models.Model"},
        {
            "class_path": "rased.losses.waveform.SNR",
            "init_args": {"threshold_db": {"class_path": "os.x"}},
        },
        {
            "class_path": "rased.losses.base.WeightedSum",
            "init_args": {"losses": [{"class_path": "tests.test_config.Outer"}]},
        },
        {"class_path": "rased.config.Path"},
        {"class_path": "rased.config.ArgumentParser"},
    ],
)
def test_nothing_outside_the_allowed_prefixes(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = []
    real = importlib.import_module
    monkeypatch.setattr(
        "importlib.import_module", lambda name: (imported.append(name), real(name))[1]
    )
    try:
        with pytest.raises(
            RasedError, match=r"is not a class that an untrusted file may name|null or a number"
        ):
            build(Loss, spec, classes=STRANGERS)
    finally:
        monkeypatch.undo()
    assert all(name.startswith("rased.losses.") for name in imported)


def test_inherited_arguments_are_known() -> None:
    class Base:
        def __init__(self, one: int = 1) -> None:
            self.one = one

    class Derived(Base):
        def __init__(self, two: int = 2, **rest: Any) -> None:
            super().__init__(**rest)

    check_arguments(Derived, {"one": 1, "two": 2})
    with pytest.raises(RasedError, match="'three'"):
        check_arguments(Derived, {"three": {}})


def test_merge_goes_left_to_right_and_replaces_other_classes() -> None:
    under = {"model": {"class_path": "a.A", "init_args": {"x": 1, "deep": {"y": 2}}}, "list": [1]}
    assert merge(under, {"model": {"init_args": {"deep": {"z": 3}}}, "list": [2]}) == {
        "model": {"class_path": "a.A", "init_args": {"x": 1, "deep": {"y": 2, "z": 3}}},
        "list": [2],
    }
    assert merge(under, {"model": {"class_path": "a.B"}})["model"] == {"class_path": "a.B"}
    same = merge(under, {"model": {"class_path": "a.A", "init_args": {"x": 5}}})
    assert same["model"]["init_args"] == {"x": 5, "deep": {"y": 2}}
    assert under["model"]["init_args"]["x"] == 1  # type: ignore[index]


def test_override_reaches_through_init_args() -> None:
    config = {"model": {"class_path": "a.A", "init_args": {"enhancer": {"class_path": "b.B"}}}}
    changed = override(config, "model.enhancer.hidden", 3)
    assert changed["model"]["init_args"]["enhancer"] == {
        "class_path": "b.B",
        "init_args": {"hidden": 3},
    }
    assert override(changed, "model.init_args.enhancer.init_args.hidden", 4) == override(
        changed, "model.enhancer.hidden", 4
    )
    assert override({}, "trainer.max_epochs", 2) == {"trainer": {"max_epochs": 2}}
    other = override(changed, "model.enhancer", "c.C")
    assert other["model"]["init_args"]["enhancer"] == {"class_path": "c.C"}
    other = override(changed, "model.enhancer.class_path", "c.C")
    assert other["model"]["init_args"]["enhancer"] == {"class_path": "c.C"}


def test_files_are_found_by_path_and_by_short_name(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("trainer: {max_epochs: 7}\n")
    assert find_config(str(own)) == own
    short, long = find_config("trainer/default"), find_config("configs/trainer/default.yaml")
    assert short.resolve() == long.resolve()
    merged = load_configs(["trainer/default", str(own)])
    assert merged["trainer"]["max_epochs"] == 7
    assert merged["trainer"]["gradient_clip_val"] == 5.0
    with pytest.raises(RasedError, match="'trainer/default'"):
        find_config("trainer/defautl")


@pytest.mark.parametrize(
    "text", ["- a list", "key: [unclosed", "!!python/object/apply:os.system [ls]", "word"]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RasedError, match=r"bad\.yaml"):
        load_configs([str(path)])


@pytest.mark.parametrize("name", config_names())
def test_every_file_holds_known_parts(name: str) -> None:
    content = yaml.safe_load(find_config(name).read_text())
    if not name.startswith("eval/"):
        assert set(content) <= {"model", "data", "trainer", "run"}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_model_builds(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())["model"]
    with torch.device("meta"):  # shapes alone: random weights of all models take half a minute
        module = build(Enhancement, spec, classes=STRANGERS)
    assert isinstance(module.enhancer, Enhancer)


WAYS = [name for name in config_names() if name.startswith("training/")]


@pytest.mark.parametrize("name", WAYS)
def test_a_way_of_training_keeps_the_network_of_the_model_before_it(name: str) -> None:
    model = load_configs(["model/conv-tasnet-small"])["model"]
    config = load_configs(["model/conv-tasnet-small", name])["model"]
    assert config["class_path"] != model["class_path"]
    for key, value in model["init_args"].items():
        assert config["init_args"][key] == value
    assert set(config) == {"class_path", "init_args"}
    assert load_configs(["model/conv-tasnet-small", name, name])["model"] == config
    module = build(Enhancement, config)
    assert type(module.enhancer).__name__ == "ConvTasNet"


def test_a_way_of_training_without_a_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-c", WAYS[0], "-c", "data/bundle", "--print-config"]) == 2
    assert "write -c model/NAME first" in capsys.readouterr().err

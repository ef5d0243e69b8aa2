"""A feature and a target in a file outside the package: trained, published, and loaded by who trusts it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import rased
from rased.building import build
from rased.construction import spec_of
from rased.errors import RasedError
from rased.evaluation.scoring.systems import fingerprint
from rased.losses.mask import OutputMSE
from rased.models.base import Enhancer
from rased.yaml_reader import parse
from rased.zoo.loading import verify
from rased.zoo.publish import write_entry

PARTS = '''
from dataclasses import dataclass

import torch

from rased.layers.features import Feature
from rased.layers.prediction import Prediction
from rased.layers.targets import Target


@dataclass(frozen=True)
class Cepstrum(Feature):
    """Low quefrencies of the logarithm of the magnitude."""

    order: int = 4

    def size(self, freq):
        return self.order

    def __call__(self, spectrum, sample_rate):
        logarithm = (spectrum.abs() + 1e-4).log()
        return torch.fft.irfft(logarithm, dim=1)[:, : self.order]


@dataclass(frozen=True)
class RootMagnitude(Target):
    """Square root of the magnitude."""

    floor: float = 0.0

    def interpret(self, output, noisy):
        root = output.clamp_min(self.floor)
        phase = torch.exp(1j * noisy.angle())
        return Prediction.of_spectrum(root.square() * phase, output=root)

    def ideal(self, *, noisy, target):
        return target.abs().sqrt()
'''
YAML = """
class_path: rased.models.frequency.FrequencyDomainEnhancer
init_args:
  features:
    kinds:
      - log_mel
      - {class_path: own_parts.parts.Cepstrum, init_args: {order: ORDER}}
    bands: 10
    coefficients: 5
  inputs: {normalisation: none, future_frames: 1}
  network: {class_path: rased.models.gru.NSNet2, init_args: {hidden: 8, layers: 1, expansion: 8}}
  target: {class_path: own_parts.parts.RootMagnitude, init_args: {floor: 0.01}}
  stft: {n_fft: 128, hop_length: 64, win_length: 128}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with own_parts, which nothing has imported yet."""
    folder = tmp_path / "work"
    (folder / "own_parts").mkdir(parents=True)
    (folder / "own_parts" / "__init__.py").touch()
    (folder / "own_parts" / "parts.py").write_text(PARTS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_parts"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def spec_with(order: int) -> Any:
    return parse(YAML.replace("ORDER", str(order)).encode(), of="the test")


def made(order: int = 5) -> Enhancer:
    torch.manual_seed(0)
    return build(Enhancer, spec_with(order))


def test_a_feature_and_a_target_of_ones_own_learn(package: Path) -> None:
    enhancer = made()
    assert enhancer.inputs.size == 15
    noisy = 0.1 * torch.randn(2, 4_000, generator=torch.Generator().manual_seed(0))
    target, loss = 0.5 * noisy, OutputMSE()
    optimizer = torch.optim.Adam(enhancer.parameters(), lr=0.01)
    values = []
    for _ in range(30):
        prediction = enhancer.predict(noisy)
        ideal = enhancer.ideal("output", noisy=noisy, target=target)
        assert prediction.output.shape == ideal.shape
        value = loss(estimate=prediction.output, target=ideal)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    assert prediction.output.min() >= 0.01
    state = enhancer.initial_state()
    assert enhancer.step(noisy[:1, :640], state)[0].shape == (1, 640)


def test_they_are_published_and_loaded_by_who_trusts_them(package: Path, shelf: Path) -> None:
    enhancer = made().eval()
    spec = spec_of(enhancer)
    assert spec["init_args"]["features"]["kinds"] == [
        "log_mel",
        {"class_path": "own_parts.parts.Cepstrum", "init_args": {"order": 5}},
    ]
    assert spec["init_args"]["target"]["init_args"] == {"floor": 0.01}
    entry = write_entry(
        shelf / "own",
        enhancer=enhancer,
        spec=spec,
        summary="of ones own",
        paper="none",
        licence={"code": "Apache-2.0", "weights": "CC0-1.0", "data": []},
        training={},
        allow=["own_parts"],
    )
    assert all(check.passed for check in verify(entry, allow=["own_parts"]))
    with pytest.raises(RasedError, match=r"allow=\['own_parts'\]"):
        rased.load("own")
    again = rased.load("own", allow=["own_parts"])
    noisy = torch.randn(1, 1_000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(again(noisy), enhancer(noisy))
    assert fingerprint(again) == fingerprint(enhancer) != fingerprint(made(order=6))


def test_names_that_do_not_exist_are_told_with_the_nearest(package: Path) -> None:
    spec = spec_with(5)
    spec["init_args"]["features"]["kinds"] = ["log_mell"]
    with pytest.raises(RasedError, match="'log_mel'"):
        build(Enhancer, spec)
    spec = spec_with(5)
    spec["init_args"]["target"] = "ratio"
    with pytest.raises(RasedError, match=r"one of .*'ratio_mask'"):
        build(Enhancer, spec)
    spec["init_args"]["target"] = {"class_path": "rased.signal.stft.STFT"}
    with pytest.raises(RasedError, match="is not a Target"):
        build(Enhancer, spec)

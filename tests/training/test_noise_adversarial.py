"""Noise-adversarial training: the classifier learns to tell the noise, unless the enhancer hides it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.waveform import L1
from rased.training.noise_adversarial import CLASSIFIER, NoiseAdversarial, reverse_gradient
from tests.toys import Conditional
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyMask, TinyWaveform, mixture

NAME = "noise_adversarial.NoiseAdversarial"
ARGUMENTS: dict[str, Any] = {"noises": ["*babble*", "*rain*"], "layer": "network.0"}


def of_two_kinds(rows: int, seed: int, time: int = 400) -> Mixture:
    """Tones in low or high noise, as their keys say."""
    batch, freq = mixture(rows, time, seed), torch.fft.rfftfreq(time)
    bands = torch.stack([freq < 0.25, freq >= 0.25]).repeat(rows // 2, 1)
    batch["noise"] = 1.4 * torch.fft.irfft(torch.fft.rfft(batch["noise"]) * bands, time)
    batch["noisy"] = batch["target"] + batch["noise"]
    batch["noise_key"] = ["train-low_01", "train-high_02"] * (rows // 2)
    return batch


def accuracy_after(weight: float, layer: str | None = "network.1", steps: int = 60) -> float:
    """Of the classifier on unseen mixtures, where only it learns (weight 0) or both do."""
    torch.manual_seed(0)
    module = NoiseAdversarial(
        TinyMask(dropout=0.0), ["*low*"], layer, L1(), adversarial_weight=weight, hidden=16
    )
    optimizers = {
        player.name: torch.optim.Adam(player.module.parameters(), lr=1e-2)
        for player in module.players()
    }
    for step in range(steps):
        batch = of_two_kinds(8, step)
        for name, optimizer in optimizers.items():
            optimizer.zero_grad()
            terms = module.losses(batch, name)
            sum(terms.values()).backward()
            optimizer.step()
    unseen = of_two_kinds(64, 999)
    with torch.no_grad():
        module.trained_prediction(unseen)
        found = module.classifier(module._pooled).argmax(-1)
    return float((found == module.kinds(unseen)).float().mean())


def test_the_classifier_learns_and_the_reversal_takes_its_features_away() -> None:
    assert accuracy_after(0.0) > 0.95
    assert accuracy_after(3.0) < 0.8


@pytest.mark.slow
def test_the_estimate_itself_tells_the_noise() -> None:
    assert accuracy_after(0.0, layer=None, steps=30) > 0.75


def test_the_gradient_is_reversed_and_nothing_else() -> None:
    values = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = reverse_gradient(values, 0.5)
    assert torch.equal(found, values)
    found.square().sum().backward()
    torch.testing.assert_close(values.grad, -0.5 * 2 * values.detach())


def test_each_player_gets_its_own_gradient() -> None:
    """The classifier's turn leaves the enhancer alone; the classifier and the enhancer want opposite things."""
    torch.manual_seed(0)
    module = NoiseAdversarial(TinyMask(dropout=0.0), ["*low*"], "network.0", L1())
    batch = of_two_kinds(4, 0)
    module.losses(batch, CLASSIFIER)["noise"].backward()
    assert all(item.grad is None for item in module.enhancer.parameters())
    layer = module.enhancer.get_submodule("network.0").weight
    module.losses(batch, "enhancer")["noise"].backward()
    turned, layer.grad = layer.grad.clone(), None
    module.trained_prediction(batch)
    module.surprise(module._pooled, module.kinds(batch)).backward()
    torch.testing.assert_close(turned, -module.adversarial_weight * layer.grad)


def test_the_kind_is_the_first_pattern_that_matches() -> None:
    module = NoiseAdversarial(TinyMask(), ["*rain*", "*a*"])
    batch = {**mixture(4, 300, seed=0), "noise_key": ["x-rain-1", "babble+rain", "babble", "pink"]}
    assert module.kinds(batch).tolist() == [0, 0, 1, 2]
    assert "noise_accuracy" in module.validate(batch)


def test_what_does_not_fit_is_refused() -> None:
    for arguments, sentence in (
        ({"noises": []}, "noises is empty"),
        ({"noises": ["a"], "layer": "network.9"}, "has no layer 'network.9'; did you mean"),
        ({"noises": ["a"], "layer": "network", "axis": 7}, "without features in axis 7"),
        ({"noises": ["a"], "adversarial_weight": -1.0}, "adversarial_weight is -1"),
    ):
        with pytest.raises(RasedError, match=sentence):
            NoiseAdversarial(TinyWaveform(), **arguments)
    with pytest.raises(RasedError, match="without conditions, but Conditional needs speaker"):
        NoiseAdversarial(Conditional(), ["a"])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.slow
def test_a_stopped_training_continues(tmp_path: Path) -> None:
    assert_continues(NAME, ARGUMENTS, tmp_path)


@pytest.mark.slow
def test_a_run_continues_and_replays(tmp_path: Path) -> None:
    assert_continues_and_replays(NAME, ARGUMENTS, tmp_path)

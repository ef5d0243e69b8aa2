"""Auxiliary targets: heads predict them from hidden features, and these features learn to tell them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.waveform import SNR
from rased.signal.stft import STFT
from rased.training.heads import ActivityHead, Head, LogMelHead, MaskHead, SNRHead
from rased.training.hidden import Layer, find_layer, pooled
from rased.training.multi_target import HEADS, MultiTarget
from rased.training.snr_aware import SNRAware
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyMask, TinyWaveform, mixture

SMALL = STFT(64, 32, 64)


def levels(rows: int, seed: int, time: int = 2000) -> Mixture:
    """Tones in noise at -10 to 20 dB, the second half of each without a tone."""
    batch = mixture(rows, time, seed)
    target = batch["target"] * (torch.arange(time) < time // 2)
    ratio = -10 + 30 * torch.rand(rows, 1, generator=torch.Generator().manual_seed(seed))
    power = target.square().mean(-1, keepdim=True) / batch["noise"].square().mean(-1, keepdim=True)
    noise = batch["noise"] * (power * 10 ** (-ratio / 10)).sqrt()
    return {**batch, "target": target, "noise": noise, "noisy": target + noise}


def trained(module: MultiTarget, steps: int, lr: float = 0.02) -> MultiTarget:
    """Both players in turn, as in a training, on ever new mixtures; the learning rate falls to 0."""
    optimizers = {
        player.name: torch.optim.Adam(player.module.parameters()) for player in module.players()
    }
    for step in range(steps):
        batch = levels(8, step + 10, time=500)
        for name, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            loss = sum(module.losses(batch, name).values())
            assert isinstance(loss, Tensor)
            module.zero_grad()
            loss.backward()
            optimizer.step()
    return module


def distances(module: MultiTarget, batch: Mixture) -> dict[str, float]:
    """The distances of the heads for a batch."""
    module._hidden = None
    with torch.no_grad():
        return {name: float(value) for name, value in module.losses(batch, HEADS).items()}


def heads(weight: float = 0.1) -> dict[str, Head]:
    return {
        "mask": MaskHead(SMALL, weight),
        "activity": ActivityHead(100, weight=weight),
        "log_mel": LogMelHead(6, SMALL, weight),
    }


@pytest.mark.parametrize(
    ("frames", "count"), [(60, 20), (20, 60), (50, 7), (7, 50), (5000, 9), (1, 3)]
)
def test_features_are_averaged_over_equal_parts_of_the_time(frames: int, count: int) -> None:
    hidden = torch.rand(2, frames, 3, dtype=torch.float64)
    made = pooled(hidden, count)
    assert made.shape == (2, count, 3)
    if frames % count == 0 or count % frames == 0:
        expected = functional.adaptive_avg_pool1d(hidden.mT, count).mT
        torch.testing.assert_close(made, expected)
    if frames < 8 * count:
        torch.testing.assert_close(made.mean(1), hidden.mean(1))
    torch.testing.assert_close(pooled(torch.ones_like(hidden), count), torch.ones_like(made))


def test_the_layer_before_the_output_layer_is_found() -> None:
    enhancer = TinyMask().train()
    enhancer.network[1].eval()
    before = torch.random.get_rng_state()
    assert find_layer(enhancer) == Layer("network.2", axis=1, width=16)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [part.training for part in enhancer.network] == [True, False, True, True]
    assert find_layer(TinyWaveform(20)) == Layer("network.1", axis=2, width=20)
    assert find_layer(TinyWaveform(20), "network.0") == Layer("network.0", axis=2, width=20)


def test_a_layer_that_does_not_fit_is_refused() -> None:
    class Folded(TinyMask):
        """Its layers get a frame in each row."""

        def process(self, spectrum: Any, state: Any) -> Any:
            rows = self.network(spectrum.abs().mT.flatten(0, 1))
            mask = rows.unflatten(0, (len(spectrum), -1)).mT.sigmoid()
            return super().process(spectrum * mask, state)[0].of_spectrum(spectrum * mask), state

    with pytest.raises(
        RasedError,
        match=r"model\.layer is 'network\.8', but TinyMask has no such layer; did you mean 'network\.3'",
    ):
        find_layer(TinyMask(), "network.8")
    with pytest.raises(RasedError, match=r"Folded has no suitable layer.*set model\.layer"):
        find_layer(Folded())
    with pytest.raises(RasedError, match="MultiTarget has no heads"):
        MultiTarget(TinyMask(), {})
    with pytest.raises(RasedError, match=r"range_db is \[3\.0, 3\.0\]"):
        SNRHead((3.0, 3.0))


def test_the_targets_are_what_they_say() -> None:
    batch = levels(5, seed=0)
    batch["target"][3], batch["noisy"][4] = 0.0, batch["target"][4]
    wanted = SNRHead((-20.0, 40.0)).wanted(batch)[:, 0, 0]
    rest = batch["noisy"] - batch["target"]
    expected = (batch["target"].square().sum(-1) / rest.square().sum(-1)).log10()
    torch.testing.assert_close(wanted[:3], expected[:3])
    assert wanted[3:].tolist() == [-2.0, 4.0]
    active = ActivityHead(100).wanted(batch)[..., 0]
    half = (torch.arange(20) < 10).float()
    assert torch.equal(active, torch.stack([half, half, half, 0 * half, half]))
    shares = MaskHead(SMALL).wanted(batch).mean((1, 2))
    assert shares[3] == 0
    assert shares[:3].argsort().tolist() == wanted[:3].argsort().tolist()
    mel = LogMelHead(6, SMALL)
    mel.connect(4, 16_000)
    assert float(mel.wanted(batch)[3].max()) == pytest.approx(-8)


def test_hidden_features_learn_from_the_weighted_targets_alone() -> None:
    """Without a weight, only the heads learn; the enhancer runs once for both."""
    batch = levels(4, seed=1)
    gradients = []
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        enhancer = TinyMask(dropout=0.0)
        module = MultiTarget(enhancer, heads(weight), SNR())
        calls: list[None] = []
        enhancer.network.register_forward_hook(lambda *_, calls=calls: calls.append(None))
        loss = sum(module.losses(batch, "enhancer").values())
        assert isinstance(loss, Tensor)
        loss.backward()
        module.heads.zero_grad()
        gradients.append([item.grad.clone() for item in enhancer.parameters()])  # type: ignore[union-attr]
        sum(module.losses(batch, HEADS).values()).backward()  # type: ignore[union-attr]
        assert all(item.grad is not None and item.grad.any() for item in module.heads.parameters())
        for item, before in zip(enhancer.parameters(), gradients[-1], strict=True):
            assert item.grad is not None
            assert torch.equal(item.grad, before)
        assert len(calls) == 1
    plain, weighted = gradients
    assert not torch.equal(plain[0], weighted[0])
    assert torch.equal(plain[-1], weighted[-1])  # the output layer serves the loss alone


def test_the_heads_predict_their_targets_better_than_any_constant() -> None:
    torch.manual_seed(0)
    module = trained(MultiTarget(TinyMask(dropout=0.0), heads(1.0), SNR()), steps=100)
    batch = levels(32, seed=1, time=500)
    made = distances(module, batch)
    for name in made:
        head = module.head(name)
        wanted = head.wanted(batch)
        constant = wanted.mean((0, 1)) if name == "log_mel" else wanted.mean((0, 1)).logit(eps=1e-6)
        best = float(head.distance(constant.expand_as(wanted), wanted))
        assert made[name] < 0.95 * best


def test_with_the_snr_as_a_target_hidden_features_tell_it_better() -> None:
    errors = []
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        module = trained(SNRAware(TinyMask(8, dropout=0.0), SNR(), snr_weight=weight), steps=60)
        errors.append(distances(module, levels(64, seed=1, time=500))["snr"])
    assert errors[1] < 0.75 * errors[0]
    assert errors[1] < 0.5  # 5 dB; the best constant has 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_validation_reports_the_targets(dtype: torch.dtype) -> None:
    module = MultiTarget(TinyMask(), heads(), SNR()).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
        scores = module.validate(levels(3, seed=0))
    assert {"loss", "si_sdr", "heads/mask", "heads/activity", "heads/log_mel"} <= scores.keys()
    assert all(bool(value.isfinite().all()) for value in scores.values())


STORIES: dict[str, dict[str, Any]] = {
    "multi_target.MultiTarget": {
        "heads": {
            name: {"class_path": f"rased.training.heads.{kind}"}
            for name, kind in {
                "mask": "MaskHead",
                "activity": "ActivityHead",
                "mel": "LogMelHead",
            }.items()
        }
    },
    "snr_aware.SNRAware": {"snr_weight": 0.3},
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize(
    "name",
    ["multi_target.MultiTarget", pytest.param("snr_aware.SNRAware", marks=pytest.mark.slow)],
)
def test_a_stopped_training_continues(name: str, tmp_path: Path) -> None:
    assert_continues(name, STORIES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_run_continues_and_replays(name: str, tmp_path: Path) -> None:
    assert_continues_and_replays(name, STORIES[name], tmp_path)

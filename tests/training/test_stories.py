"""Each story learns, and every module does what the base promises."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rased.building import verify
from rased.classes import OWN
from rased.config import config_folder, load_configs
from rased.errors import RasedError
from rased.models.base import generators
from rased.training.base import Enhancement
from rased.training.checkpoint import build_module
from rased.training.optimisation import Budget, update_average
from rased.training.schedules import Cosine, warm_up
from tests.training.synthetic import TinyMask, TinyWaveform, mixture

TINY_MASK = {"class_path": "tests.training.synthetic.TinyMask", "init_args": {"dropout": 0.0}}
TINY_WAVEFORM = {"class_path": "tests.training.synthetic.TinyWaveform"}


def network_enhancer(target: str, phase: str, kind: str = "log_power") -> dict[str, Any]:
    return {
        "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
        "init_args": {
            "features": {"kinds": [kind]},
            "inputs": {"normalisation": "none" if kind == "complex" else "global"},
            "network": {
                "class_path": "rased.models.dnn.DNN",
                "init_args": {"hidden": 64, "layers": 1},
            },
            "target": target,
            "phase": {"source": phase},
            "stft": {"n_fft": 64, "hop_length": 32, "win_length": 64},
        },
    }


def story(module: str, enhancer: dict[str, Any], loss: str | None = None) -> dict[str, Any]:
    arguments: dict[str, Any] = {"enhancer": enhancer}
    if loss is not None:
        arguments["loss"] = {"class_path": f"rased.losses.{loss}"}
    return {"class_path": f"rased.training.{module}", "init_args": arguments}


STORIES = {
    "mask_approximation": story("mask.MaskEnhancement", TINY_MASK),
    "signal_approximation": story(
        "mask.MaskEnhancement", TINY_MASK, "mask.PhaseSensitiveApproximation"
    ),
    "mask_by_waveform": story("mask.MaskEnhancement", TINY_MASK, "waveform.SISDR"),
    "log_power_mapping": story(
        "mapping.MappingEnhancement", network_enhancer("log_power", "noisy")
    ),
    "magnitude_mapping": story(
        "mapping.MappingEnhancement", network_enhancer("magnitude", "noisy")
    ),
    "complex_mapping": story(
        "complex.ComplexEnhancement", network_enhancer("complex", "predicted", "complex")
    ),
    "complex_mask": story(
        "complex.ComplexEnhancement", network_enhancer("complex_mask", "predicted", "complex")
    ),
    "waveform": story("waveform.WaveformEnhancement", TINY_WAVEFORM),
    "waveform_of_a_mask": story("waveform.WaveformEnhancement", TINY_MASK),
}


@pytest.mark.parametrize("name", STORIES)
def test_story_overfits_one_batch(name: str) -> None:
    torch.manual_seed(0)
    module = build_module(STORIES[name])
    batch = mixture(4, 2000, seed=0)
    if module.enhancer.needs_statistics:
        module.enhancer.fit_statistics([(batch["noisy"], batch["target"])])
    optimizer = torch.optim.Adam(module.enhancer.parameters(), lr=1e-2)

    def loss() -> torch.Tensor:
        return module.loss_of(module.enhancer.predict(batch["noisy"]), batch)

    ideal = perfect_loss(module, batch)
    before = float(loss().detach()) - ideal
    for _ in range(60):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    after = float(loss().detach()) - ideal
    assert after < 0.8 * before


def perfect_loss(module: Enhancement, batch: Any) -> float:
    """The loss of the target itself: a ratio's is far below zero."""
    return -30.0 if module.loss.domain == "waveform" else 0.0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            story("waveform.WaveformEnhancement", TINY_MASK, "spectral.Magnitude"),
            "choose another loss",
        ),
        (story("complex.ComplexEnhancement", TINY_WAVEFORM), "TinyWaveform does not have"),
        (story("mask.MaskEnhancement", TINY_WAVEFORM), "TinyWaveform does not have"),
        (story("base.Enhancement", TINY_MASK), "no default loss"),
    ],
)
def test_a_loss_that_does_not_suit_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(RasedError, match=message):
        build_module(spec)


def test_average_follows_by_the_decay() -> None:
    torch.manual_seed(0)
    one, other = TinyMask(), TinyMask()
    before = [item.clone() for item in one.parameters()]
    update_average(one, other, 0.9)
    for old, new, source in zip(before, one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * source)


def test_average_copies_buffers() -> None:
    one, other = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    other.running_mean += 2
    other.num_batches_tracked += 5
    update_average(one, other, 0.9)
    torch.testing.assert_close(one.running_mean, other.running_mean)
    assert int(one.num_batches_tracked) == 5


def share(now: Budget, *, warmup_steps: int, final: float) -> float:
    return warm_up(now, warmup_steps) * Cosine(final).share(now)


def test_schedule_rises_then_falls_to_its_end() -> None:
    factors = [share(Budget(n, 1000), warmup_steps=10, final=0.1) for n in range(1001)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[:10] == sorted(factors[:10])
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("total", [1, 2, 5, 9, 10, 30, 100, 300, 999, 10_000])
@pytest.mark.parametrize("warmup_steps", [0, 1, 100, 10**6])
def test_every_training_reaches_its_learning_rate(total: int, warmup_steps: int) -> None:
    factors = [share(Budget(n, total), warmup_steps=warmup_steps, final=0.02) for n in range(total)]
    assert max(factors) > 0.97
    assert min(factors) > 0


def test_no_weight_decay_on_biases_and_norms() -> None:
    module = build_module(STORIES["mask_approximation"])
    optimizer = module.configure_optimizers()
    for group in optimizer.param_groups:
        dimensions = {item.ndim > 1 for item in group["params"]}
        assert dimensions == {group["weight_decay"] > 0}
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(list(module.enhancer.parameters()))


@pytest.mark.parametrize(
    "path", sorted((config_folder() / "model").glob("*small.yaml")), ids=lambda path: path.stem
)
def test_a_step_of_every_small_model(path: Path) -> None:
    """Loss and gradient are finite, also for silence, and the checkpointed configuration is plain."""
    module = build_module(yaml.safe_load(path.read_text())["model"])
    assert module.hparams["enhancer"]["class_path"].startswith("rased.models.")
    batch = mixture(2, 3000, seed=0)
    for key in ("noisy", "target"):
        batch[key][1] = 0.0  # type: ignore[literal-required]
    if module.enhancer.needs_statistics:
        module.enhancer.fit_statistics([(batch["noisy"], batch["target"])])
    drawn = generators(batch["key"]) if module.enhancer.samples else None
    loss = module.loss_of(module.predicted(module.enhancer, batch, drawn), batch)
    loss.backward()
    assert loss.isfinite()
    gradients = [item.grad for item in module.enhancer.parameters() if item.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    # The residual path of Conv-TasNet's last block leads nowhere, as in the paper.
    reached = sum(gradient.numel() for gradient in gradients)
    trained = [item for item in module.enhancer.parameters() if item.requires_grad]
    assert reached > 0.95 * sum(item.numel() for item in trained)


def test_waveform_models_run_without_a_spectrum() -> None:
    module = build_module(STORIES["waveform"])
    assert isinstance(module.enhancer, TinyWaveform)
    assert module.enhancer(mixture(1, 500, seed=0)["noisy"]).shape == (1, 500)


@pytest.mark.parametrize(
    "path", sorted((config_folder() / "training").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_way_of_training_goes_with_any_model(path: Path) -> None:
    """The file keeps the network, and names arguments that its class has; docs/train.md describes it."""
    config = load_configs(["model/gtcrn", f"training/{path.stem}"])["model"]
    verify(Enhancement, config, classes=OWN, where="model")
    assert (
        config["init_args"]["enhancer"]
        == load_configs(["model/gtcrn"])["model"]["init_args"]["enhancer"]
    )
    page = (config_folder().parent / "docs" / "train.md").read_text()
    assert f"`training/{path.stem}`" in page

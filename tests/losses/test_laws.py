"""What every loss keeps, whoever adds it."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rased.losses.base import Loss, WeightedSum, total
from rased.losses.spectral import MultiResolutionSTFT
from rased.signal.stft import STFT
from tests.losses.examples import CONFIGURED, LOSSES, as_domain, classes, configured, noise

SOUND, SILENCE = noise(0, batch=1), torch.zeros(1, 7_000)
EDGES = {
    "silent target": (SOUND, SILENCE),
    "loud estimate of silence": ((100 * SOUND).clamp(-1, 1), SILENCE),
    "quiet estimate of silence": (1e-4 * SOUND, SILENCE),
    "near silence": (1e-6 * SOUND, SILENCE),
    "silent estimate": (SILENCE, SOUND),
    "silence": (SILENCE, SILENCE),
    "equal": (SOUND, SOUND),
    "one sample": (torch.tensor([[0.3]]), torch.tensor([[-0.2]])),
    "one sample for silence": (torch.tensor([[0.3]]), torch.tensor([[0.0]])),
    "one sample of silence": (torch.tensor([[0.0]]), torch.tensor([[0.3]])),
    "offset": (torch.full((1, 7_000), 0.5), torch.full((1, 7_000), -0.5)),
    "offset and silence": (torch.full((1, 7_000), 0.5), SILENCE),
    "offset for sound": (torch.full((1, 7_000), 0.5), SOUND),
    "sound for offset": (SOUND, torch.full((1, 7_000), 0.5)),
    "half silent": (torch.cat([SOUND[:, :3_000], SILENCE[:, :4_000]], 1), SOUND),
    "clipping": ((100 * SOUND).clamp(-1, 1), (-100 * SOUND).clamp(-1, 1)),
}
NEARLY_SILENT = {
    "both": (1e-6 * SOUND, 1e-6 * noise(1, batch=1)),
    "estimate": (1e-6 * noise(1, batch=1), SOUND),
    "quiet estimate": (1e-3 * noise(1, batch=1), SOUND),
}
"""A loss that does not know the level has a gradient that grows as the estimate falls: finite, but not small."""
LARGEST, STEEPEST = 500.0, 1000.0
"""Bounds of a loss of one item, and of the length of its gradient: the log-power of sound over silence has 279."""
BOUNDED = {**LOSSES, "MultiResolutionSTFT-default": MultiResolutionSTFT()}


def value_and_gradient(loss: Loss, estimate: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    estimate = estimate.clone().requires_grad_(True)
    value = loss(estimate=estimate, target=target)
    (gradient,) = torch.autograd.grad(value, estimate)
    return value.detach(), gradient


def random_like(signal: Tensor, seed: int) -> Tensor:
    """Noise of the same size and kind; a random spectrum is not that of a waveform."""
    drawn = torch.randn(
        signal.shape, dtype=signal.dtype, generator=torch.Generator().manual_seed(seed)
    )
    return drawn * signal.abs().square().mean().sqrt()


@pytest.mark.parametrize("name", BOUNDED)
def test_values_and_gradients_are_finite_and_bounded(name: str) -> None:
    loss = BOUNDED[name]
    for edge, waveforms in {**EDGES, **NEARLY_SILENT}.items():
        value, gradient = value_and_gradient(loss, *(as_domain(loss, one) for one in waveforms))
        assert value.shape == (), edge
        assert abs(float(value)) <= LARGEST, edge
        steepness = float(gradient.abs().square().sum().sqrt())
        assert steepness <= (STEEPEST if edge in EDGES else float("inf")), edge
        assert math.isfinite(steepness), edge


@pytest.mark.parametrize(
    "name", [name for name, loss in LOSSES.items() if loss.domain != "spectrum"]
)
def test_half_precision(name: str) -> None:
    """Estimates of half precision are compared in single precision; there are no complex spectra of half precision."""
    loss, half = LOSSES[name], torch.bfloat16
    for edge, (estimate, target) in {**EDGES, **NEARLY_SILENT}.items():
        value, gradient = value_and_gradient(loss, estimate.to(half), target)
        assert value.dtype == torch.float32
        assert value.isfinite(), edge
        assert gradient.dtype == half
        assert gradient.isfinite().all(), edge
    with torch.autocast("cpu", half):
        mixed = loss(estimate=noise(1).to(half), target=noise(0).to(half))
    exact = loss(estimate=noise(1).to(half).float(), target=noise(0).to(half).float())
    assert torch.equal(mixed, exact)


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_smallest_at_the_target(self, name: str) -> None:
        loss = LOSSES[name]
        target = as_domain(loss, noise(0))
        best = loss(estimate=target, target=target)
        for seed in range(1, 4):
            for size in (0.01, 0.3, 3.0):
                other = target + size * random_like(target, seed)
                assert loss(estimate=other, target=target) > best

    def test_descent_approaches_the_target(self, name: str) -> None:
        """A small step against the gradient makes the loss smaller: sign and gradient belong together."""
        loss = LOSSES[name]
        target = as_domain(loss, noise(0))
        estimate = target + 0.5 * random_like(target, 1)
        value, gradient = value_and_gradient(loss, estimate, target)
        length = 1e-3 * estimate.abs().mean() / gradient.abs().max()
        assert loss(estimate=estimate - length * gradient, target=target) < value

    def test_mean_over_the_batch(self, name: str) -> None:
        loss = LOSSES[name]
        estimate, target = as_domain(loss, noise(2)), as_domain(loss, noise(3))
        each = [loss(estimate=estimate[i : i + 1], target=target[i : i + 1]) for i in range(2)]
        together = loss(estimate=estimate, target=target)
        torch.testing.assert_close(together, sum(each) / 2, rtol=1e-4, atol=1e-6)

    def test_scale_is_as_stated(self, name: str) -> None:
        loss = LOSSES[name]
        target = as_domain(loss, noise(0))
        estimate = target + 0.5 * random_like(target, 1)
        value = float(loss(estimate=estimate, target=target))
        for gain in (0.3, 4.0):
            both = float(loss(estimate=gain * estimate, target=gain * target))
            alone = float(loss(estimate=gain * estimate, target=target))
            if loss.degree is not None:
                assert both == pytest.approx(value * gain**loss.degree, rel=5e-3), "degree"
            assert (alone == pytest.approx(value, rel=5e-3)) == loss.level_free

    def test_the_same_again(self, name: str) -> None:
        """Nothing is drawn, and the signals that were given stay as they are."""
        loss = LOSSES[name]
        estimate, target = as_domain(loss, noise(2)), as_domain(loss, noise(3))
        kept = estimate.clone(), target.clone()
        pair = {"estimate": estimate, "target": target}
        assert torch.equal(loss(**pair), loss(**pair))
        assert torch.equal(estimate, kept[0])
        assert torch.equal(target, kept[1])

    def test_the_term_of_a_single_loss_is_the_loss(self, name: str) -> None:
        loss = LOSSES[name]
        estimate, target = as_domain(loss, noise(2)), as_domain(loss, noise(3))
        terms = loss.terms({loss.domain: (estimate, target)})
        assert len(terms) == 1 or isinstance(loss, WeightedSum)
        assert torch.equal(total(terms), loss(estimate=estimate, target=target))


def test_every_class_of_losses_is_here() -> None:
    found = {type(loss) for loss in LOSSES.values()}
    assert found == {*classes()}
    assert len(found) > 18


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_configuration_gives_a_loss_that_is_smallest_at_the_target(name: str) -> None:
    loss = configured(name)
    transform = STFT(400, 100, 400, "hann") if name == "mp-senet" else STFT()
    pairs = {}
    for domain in loss.domains:
        turn = Tensor.clone if domain == "waveform" else transform.analysis
        pairs[domain] = (turn(noise(1)).requires_grad_(True), turn(noise(0)))
    value = total(loss.terms(pairs))
    for gradient in torch.autograd.grad(value, [estimate for estimate, _ in pairs.values()]):
        assert torch.view_as_real(gradient + 0j).isfinite().all()
        assert gradient.abs().max() > 0
    ideal = {domain: (target, target) for domain, (_, target) in pairs.items()}
    assert total(loss.terms(ideal)) < value


def test_every_configuration_is_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "train.md").read_text(encoding="utf-8")
    assert [name for name in CONFIGURED if f"`{name}`" not in text] == []

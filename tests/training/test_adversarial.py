"""Training against a discriminator: each side learns its own, and a run can be stopped, continued and replayed."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from rased import audio
from rased.data.shards.index import bundle
from rased.errors import RasedError
from rased.losses.adversarial import Hinge, LeastSquares, MetricRegression
from rased.machine import cores
from rased.native import Children, DiedError, pesq
from rased.signal.stft import STFT
from rased.training.adversarial import DISCRIMINATOR, Adversarial
from rased.training.checkpoint import build_module
from rased.training.discriminators import (
    ConditionalDiscriminator,
    Discriminator,
    MetricDiscriminator,
)
from rased.training.metric_adversarial import MetricAdversarial
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyMask, TinyWaveform, Tones, mixture
from tests.training.test_by_hand import QUICK

SLOW = pytest.mark.slow
SMALL = STFT(128, 64, 128)


def small_conditional() -> ConditionalDiscriminator:
    return ConditionalDiscriminator((8, 8), kernel_size=15)


def small_metric(channels: int = 4) -> MetricDiscriminator:
    return MetricDiscriminator(channels, dropout=0.0, stft=SMALL)


@pytest.mark.parametrize("criterion", [LeastSquares(), Hinge()])
def test_a_criterion_pulls_both_sides_apart(criterion: Any) -> None:
    """Higher scores for clean speech, lower ones for estimates; the network wants higher ones for its estimates."""
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    sum(criterion.discriminate(real=real, fake=fake).values()).backward()
    assert bool((real.grad < 0).all())
    assert bool((fake.grad >= 0).all())
    mine = torch.full((3,), 0.5, requires_grad=True)
    sum(criterion.discriminate(real=real.detach(), fake=mine).values()).backward()
    assert bool((mine.grad > 0).all())
    mine.grad = None
    criterion.please(mine).backward()
    assert bool((mine.grad < 0).all())


def test_a_row_without_the_metric_changes_nothing() -> None:
    real, fake = torch.tensor([0.9, 0.8]), torch.tensor([0.3, 0.6], requires_grad=True)
    both = MetricRegression().regress(
        real=real, fake=fake, quality=torch.tensor([0.5, float("nan")])
    )
    assert float(both["fake"].detach()) == pytest.approx(0.04)
    both["fake"].backward()
    assert fake.grad.tolist() == pytest.approx([-0.4, 0.0])
    none = MetricRegression().regress(real=real, fake=fake, quality=torch.full((2,), float("nan")))
    assert float(none["fake"].detach()) == 0.0


@pytest.mark.parametrize("time", [1, 100, 3000])
@pytest.mark.parametrize("make", [small_conditional, small_metric, MetricDiscriminator])
def test_a_discriminator_scores_rows_one_by_one(make: Any, time: int) -> None:
    """Of any length, finite on silence, and the same in any batch."""
    torch.manual_seed(0)
    judge: Discriminator = make().eval()
    batch = mixture(3, time, seed=0)
    batch["target"][1] = 0.0
    candidate = batch["noisy"].clone().requires_grad_()
    scores = judge(candidate, noisy=batch["noisy"], target=batch["target"])
    scores.sum().backward()
    assert bool(scores.isfinite().all() & candidate.grad.isfinite().all())
    alone = judge(batch["noisy"][:1], noisy=batch["noisy"][:1], target=batch["target"][:1])
    torch.testing.assert_close(alone, scores[:1], rtol=1e-4, atol=1e-5)


def trained(module: Adversarial, player: str, batch: Any, steps: int, lr: float = 3e-3) -> None:
    part = module.discriminator if player == DISCRIMINATOR else module.enhancer
    optimizer = torch.optim.Adam(part.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(module.losses(batch, player).values()).backward()
        optimizer.step()


def test_the_discriminator_learns_to_tell_and_the_enhancer_to_please() -> None:
    torch.manual_seed(0)
    module = Adversarial(TinyWaveform(), small_conditional(), adversarial_weight=1.0)
    batch, unseen = mixture(8, 1000, seed=0), mixture(8, 1000, seed=1)

    def told() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            estimate = module.enhancer(unseen["noisy"])
            return module.scored(unseen, unseen["target"]), module.scored(unseen, estimate)

    trained(module, DISCRIMINATOR, batch, 40)
    real, fake = told()
    assert float(real.min()) > float(fake.max())
    trained(module, "enhancer", batch, 20)
    assert float(told()[1].mean()) > float(fake.mean()) + 0.1


def test_the_enhancer_runs_once_in_a_step() -> None:
    torch.manual_seed(0)
    module = Adversarial(TinyMask(dropout=0.5), small_conditional())
    runs = []
    module.enhancer.network.register_forward_hook(lambda *_: runs.append(1))
    batch = mixture(2, 800, seed=0)
    for player in (DISCRIMINATOR, "enhancer", DISCRIMINATOR, "enhancer"):
        terms = module.losses(batch, player)
        sum(terms.values()).backward()
    assert len(runs) == 2
    assert terms.keys() == {"l1", "adversarial"}


class Normed(TinyWaveform):
    """Its norm keeps running statistics, which a skipped step restores."""

    def __init__(self) -> None:
        super().__init__()
        self.network.insert(1, torch.nn.BatchNorm1d(8))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
def test_a_step_without_finite_gradient_is_skipped_for_both(capsys: Any) -> None:
    class Spoilt(Adversarial):
        def losses(self, batch: Any, player: str) -> dict[str, Tensor]:
            if self.global_step == 1:
                batch = {**batch, "noisy": batch["noisy"] * float("nan")}
            return super().losses(batch, player)

    module = Spoilt(Normed(), small_conditional(), warmup_steps=0)
    trainer = pl.Trainer(**QUICK, max_steps=3, limit_val_batches=0)
    trainer.fit(module, datamodule=Tones(time=500))
    assert module.skipping.total == 1
    assert "step 2 is skipped" in capsys.readouterr().err
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


@pytest.fixture(scope="module")
def speech() -> Tensor:
    """Four excerpts of 1 s with speech, from the bundled test set."""
    paths = sorted((bundle() / "frozen" / "target").glob("*.flac"))[:4]
    parts = [torch.from_numpy(audio.read(path, sample_rate=16_000)[0][0].copy()) for path in paths]
    starts = [
        int(part.square().unfold(0, 16_000, 4_000).sum(-1).argmax()) * 4_000 for part in parts
    ]
    return torch.stack([p[at : at + 16_000] for p, at in zip(parts, starts, strict=True)])


def test_the_metric_discriminator_learns_pesq(speech: Tensor) -> None:
    """On noise levels between those that it was trained on."""
    torch.manual_seed(0)
    module = MetricAdversarial(TinyWaveform(), small_metric(), jobs=1)
    noise = torch.randn(speech.shape) * speech.square().mean(-1, keepdim=True).sqrt()

    def noisy(levels_db: list[float]) -> tuple[dict[str, Tensor], Tensor]:
        gains = 10 ** (torch.tensor(levels_db) / 20)[:, None, None]
        estimate = (speech + gains * noise).flatten(0, 1)
        return {"target": speech.repeat(len(levels_db), 1), "noisy": estimate}, estimate

    batch, estimate = noisy([-40.0, -20.0, 0.0])
    quality = module.quality(estimate=estimate, target=batch["target"])
    module.quality = lambda **_: quality  # type: ignore[method-assign, assignment]
    optimizer = torch.optim.Adam(module.discriminator.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        sum(module.judged(batch, estimate).values()).backward()
        optimizer.step()
    del module.quality
    batch, estimate = noisy([-30.0, -10.0])
    truth = module.quality(estimate=estimate, target=batch["target"])
    module.teardown("fit")
    with torch.no_grad():
        found = module.scored(batch, estimate)
        perfect = module.scored(batch, batch["target"])
    assert float(torch.corrcoef(torch.stack([found, truth]))[0, 1]) > 0.8
    assert float(perfect.mean()) > float(found.mean())


def test_quality_is_mapped_pesq_and_nan_where_there_is_none(speech: Tensor) -> None:
    module = MetricAdversarial(TinyWaveform(), small_metric(), jobs=2)
    target = torch.stack([speech[0], torch.zeros(16_000), speech[1]])
    found = module.quality(estimate=target, target=target)
    expected = (pesq.measure(speech[1].numpy(), speech[1].numpy(), "wb") - 1) / 3.5
    assert float(found[2]) == pytest.approx(expected, abs=1e-6)
    assert found.isnan().tolist() == [False, True, False]
    spoilt = torch.stack([0 * speech[0], speech[0] * float("nan"), 1e-30 * speech[0]])
    assert bool(module.quality(estimate=spoilt, target=speech[:3]).isnan().all())
    short = module.quality(estimate=target[:, :100], target=target[:, :100])
    assert bool(short.isnan().all())
    module.teardown("fit")


def test_a_child_that_dies_costs_one_result() -> None:
    children = Children(2)
    try:
        numbers = [0, signal.SIGKILL, 0, signal.SIGTERM, 0]
        found = children.each(signal.raise_signal, [(number,) for number in numbers])
        assert [isinstance(one, DiedError) for one in found] == [False, True, False, True, False]
        assert children.each(divmod, [(7, 3), (9, 2)]) == [(2, 1), (4, 1)]
    finally:
        children.end()


def test_no_more_children_run_than_calls_at_the_same_time() -> None:
    children = Children(4)
    try:
        assert len({children.each(os.getpid, [()])[0] for _ in range(4)}) == 1
    finally:
        children.end()


def test_children_end_although_a_fork_holds_their_pipes() -> None:
    """As the workers of a data loader do: a child that waits for the end of its pipe would have to be killed."""
    children = Children(2)
    children.each(divmod, [(7, 3), (9, 2)])
    processes = [place._process for place in children._free.queue if place is not None]
    fork = get_context("fork").Process(target=signal.pause)
    fork.start()
    try:
        children.end()
        assert [process.returncode for process in processes] == [0] * len(processes)
        assert processes
    finally:
        fork.kill()
        fork.join()


@pytest.mark.parametrize("ranks", [1, 10_000])
def test_the_ranks_of_a_machine_share_its_cores(ranks: int) -> None:
    module = MetricAdversarial(TinyWaveform(), small_metric())
    module._trainer = SimpleNamespace(num_devices=ranks)  # type: ignore[assignment]
    assert module.processes == (cores() if ranks == 1 else 1)


def test_pesq_at_another_rate_is_refused() -> None:
    enhancer = TinyWaveform()
    enhancer.sample_rate = 48_000
    with pytest.raises(RasedError, match="PESQ needs 16000 Hz, but the enhancer works at 48000 Hz"):
        MetricAdversarial(enhancer)


STORIES: dict[str, dict[str, Any]] = {
    "adversarial.Adversarial": {
        "discriminator": {
            "class_path": "rased.training.discriminators.ConditionalDiscriminator",
            "init_args": {"channels": [4, 4], "kernel_size": 15},
        },
        "criterion": {"class_path": "rased.losses.adversarial.Hinge"},
        "discriminator_lr": 2e-3,
    },
    "metric_adversarial.MetricAdversarial": {
        "discriminator": {
            "class_path": "rased.training.discriminators.MetricDiscriminator",
            "init_args": {
                "channels": 2,
                "stft": {"n_fft": 128, "hop_length": 64, "win_length": 128},
            },
        },
        "jobs": 1,
    },
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize(
    "name",
    ["adversarial.Adversarial", pytest.param("metric_adversarial.MetricAdversarial", marks=SLOW)],
)
def test_a_stopped_training_continues(name: str, tmp_path: Path) -> None:
    assert_continues(name, STORIES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_run_continues_and_replays(name: str, tmp_path: Path) -> None:
    assert_continues_and_replays(name, STORIES[name], tmp_path)


def test_the_discriminator_has_its_own_rate_and_no_factor_of_the_enhancer() -> None:
    module = build_module(
        {
            "class_path": "rased.training.adversarial.Adversarial",
            "init_args": {
                **STORIES["adversarial.Adversarial"],
                "enhancer": {"class_path": "tests.training.synthetic.TinyWaveform"},
                "lr": 1e-4,
                "lr_factors": {"network.0.*": 0.1},
            },
        }
    )
    players = module.players()
    assert [player.optimisation.lr for player in players] == [2e-3, 1e-4]
    assert isinstance(module.configure_optimizers(), torch.optim.Optimizer)
    assert isinstance(module, pl.LightningModule)

"""Training on noisy recordings alone: the clean target is never used, and yet the noise goes down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch

from rased.data.mixtures.sample import Mixture, further_noise
from rased.errors import RasedError
from rased.losses.waveform import L1
from rased.signal.ratios import si_sdr
from rased.training.base import Enhancement
from rased.training.mixit import MixIT
from rased.training.noisy_target import NoisyTarget
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyWaveform, Tones, mixture
from tests.training.test_by_hand import QUICK


def banded(rows: int, time: int, seed: int) -> Mixture:
    """Tones in noise that is above them: in a lower band in even rows, in a higher one in odd rows."""
    batch, freq = mixture(rows, time, seed), torch.fft.rfftfreq(time)
    bands = torch.stack([(freq > 0.17) & (freq < 0.3), freq > 0.35]).repeat(rows // 2, 1)
    batch["noise"] = 1.5 * torch.fft.irfft(torch.fft.rfft(batch["noise"]) * bands, time)
    batch["noisy"] = batch["target"] + batch["noise"]
    return batch


def improvement(module: Enhancement, data: Callable[..., Mixture], steps: int) -> float:
    """Gain in SI-SDR on unseen tones after some steps on noisy ones whose target is not a number."""
    unseen = data(8, 600, seed=99)
    parts = [player.module for player in module.players()]
    optimizers = [torch.optim.Adam(part.parameters(), lr=1e-2) for part in parts]
    for step in range(steps):
        batch = data(4, 600, seed=step)
        for name in ("target", "early", "late"):
            batch[name] = torch.full_like(batch["noisy"], float("nan"))  # type: ignore[literal-required]
        for player, optimizer in zip(module.players(), optimizers, strict=True):
            optimizer.zero_grad()
            sum(module.losses(batch, player.name).values()).backward()
            optimizer.step()
    with torch.no_grad():
        estimate = module.enhancer(unseen["noisy"])
    before = si_sdr(estimate=unseen["noisy"], target=unseen["target"])
    return float((si_sdr(estimate=estimate, target=unseen["target"]) - before).mean())


def test_noisy_targets_teach_to_remove_noise() -> None:
    torch.manual_seed(0)
    assert improvement(NoisyTarget(TinyWaveform()), mixture, steps=60) > 1.0


def test_mixtures_of_mixtures_teach_to_remove_noise() -> None:
    torch.manual_seed(0)
    assert improvement(MixIT(TinyWaveform(), TinyWaveform()), banded, steps=55) > 3.0


def test_the_added_noise_has_the_drawn_ratio() -> None:
    """And comes from another recording."""
    torch.manual_seed(0)
    module, batch = NoisyTarget(TinyWaveform(), added_db=(3.0, 3.0)), mixture(4, 500, seed=0)
    added = module.added(batch)
    power = batch["noisy"].square().mean(-1) / added.square().mean(-1)
    torch.testing.assert_close(10 * power.log10(), torch.full((4,), 3.0), rtol=0, atol=1e-4)
    for row in range(4):
        pair = torch.stack([added[row], batch["noise"][row - 1]])
        assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(1.0, abs=1e-4)


def test_a_single_recording_gets_its_noise_from_another_time() -> None:
    """The noise that it holds already, added once more, would teach nothing."""
    batch = mixture(1, 2000, seed=0)
    pair = torch.cat([batch["noise"], further_noise(batch)])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.1
    torch.testing.assert_close(*pair.square().sum(-1))


class Counted(TinyWaveform):
    """Keeps the batches of its statistics."""

    needs_statistics = True
    seen: ClassVar[list[tuple[torch.Tensor, torch.Tensor]]] = []

    def fit_statistics(self, batches: Any) -> None:
        self.seen[:] = batches


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize("story", ["noisy", "mixit"])
def test_input_statistics_are_those_of_what_is_trained_on(story: str) -> None:
    """Neither of the clean targets, nor of recordings without the further noise."""
    module: Enhancement = NoisyTarget(Counted())
    if story == "mixit":
        module = MixIT(Counted(), TinyWaveform())
    data = Tones(batches=2, time=200)
    pl.Trainer(**QUICK, max_steps=1, limit_val_batches=0).fit(module, datamodule=data)
    for (noisy, target), batch in zip(Counted.seen, data.train_dataloader(), strict=True):
        assert torch.equal(target, batch["noisy"])
        assert float((noisy - target).abs().mean()) > 0.02


def test_silence_is_added_to_as_little_as_it_is() -> None:
    module, batch = NoisyTarget(TinyWaveform()), mixture(2, 500, seed=0)
    batch["noise"] = torch.zeros_like(batch["noise"])
    assert not bool(module.added(batch).any())


def test_mixit_picks_the_assignment_that_fits() -> None:
    """Whichever noise of the pair belongs to the recording, row by row, and the loss is that one's."""
    batch = mixture(4, 500, seed=0)
    speech, own, further = batch["target"], batch["noise"], batch["noise"].roll(1, 0)
    module = MixIT(TinyWaveform(), TinyWaveform(), L1())
    swapped = torch.tensor([False, True, True, False])[:, None]
    noises = (torch.where(swapped, further, own), torch.where(swapped, own, further))
    costs = module.costs(speech, noises, speech + own, further)
    assert (costs[:, 0] > costs[:, 1]).tolist() == swapped[:, 0].tolist()
    torch.testing.assert_close(costs.amin(dim=1), torch.zeros(4), rtol=0, atol=1e-6)


def test_the_estimates_of_mixit_add_up_to_the_input() -> None:
    """Both sums of an assignment together are the recording and the further noise: no part is lost."""
    torch.manual_seed(0)
    heard: list[torch.Tensor] = []

    class Sum(MixIT):
        def costs(self, speech: Any, noises: Any, recording: Any, further: Any) -> Any:
            heard.append((speech + sum(noises) - recording - further).detach().abs().max())
            return super().costs(speech, noises, recording, further)

    Sum(TinyWaveform(), TinyWaveform()).losses(mixture(2, 500, seed=0), "enhancer")
    assert float(heard[0]) < 1e-6


def test_what_does_not_fit_is_refused() -> None:
    several = TinyWaveform()
    several.channels = 2
    with pytest.raises(RasedError, match="NoisyTarget trains enhancers of one channel"):
        NoisyTarget(several)
    with pytest.raises(RasedError, match="MixIT trains enhancers of one channel"):
        MixIT(several, TinyWaveform())
    with pytest.raises(RasedError, match="MixIT trains enhancers of one channel"):
        MixIT(TinyWaveform(), several)
    with pytest.raises(RasedError, match="Counted cannot be the noise_model: it needs statistics"):
        MixIT(TinyWaveform(), Counted())
    with pytest.raises(RasedError, match=r"model\.added_db is \[5\.0, -5\.0\]"):
        NoisyTarget(TinyWaveform(), added_db=(5.0, -5.0))


STORIES: dict[str, dict[str, Any]] = {
    "noisy_target.NoisyTarget": {"added_db": [0, 5]},
    "mixit.MixIT": {"noise_model": {"class_path": "tests.training.synthetic.TinyWaveform"}},
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize("name", STORIES)
def test_a_stopped_training_continues(name: str, tmp_path: Path) -> None:
    assert_continues(name, STORIES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_run_continues_and_replays(name: str, tmp_path: Path) -> None:
    assert_continues_and_replays(name, STORIES[name], tmp_path)

"""Training without pairs: the two networks learn to undo each other, and the enhancer leaves clean speech alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rased.data.mixtures.sample import unpaired
from rased.errors import RasedError
from rased.models.base import Enhancer, Prediction
from rased.training.cycle import DEGRADER, DISCRIMINATORS, CycleConsistent
from rased.training.discriminators import UnpairedDiscriminator
from tests.toys import Conditional, FourChannels
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyWaveform, mixture

NAME = "cycle.CycleConsistent"
DISCRIMINATOR = {
    "class_path": "rased.training.discriminators.UnpairedDiscriminator",
    "init_args": {"channels": [4, 4], "kernel_size": 15},
}
ARGUMENTS: dict[str, Any] = {
    "degrader": {"class_path": "tests.training.synthetic.TinyWaveform"},
    "clean_discriminator": DISCRIMINATOR,
    "noisy_discriminator": DISCRIMINATOR,
}


class Gain(Enhancer):
    """Multiplies by a number."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def predict(self, noisy: Tensor) -> Prediction:
        return Prediction(self.gain * noisy)


def made(enhancer: Enhancer, degrader: Enhancer, **arguments: Any) -> CycleConsistent:
    torch.manual_seed(0)
    judges = [UnpairedDiscriminator((4, 8), kernel_size=15) for _ in range(2)]
    return CycleConsistent(enhancer, degrader, *judges, **arguments)


def test_recordings_come_back_and_clean_speech_stays() -> None:
    """Distances fall on unseen recordings; what pairs would tell is not a number."""
    torch.manual_seed(0)
    weights = {"cycle_weight": 20.0, "identity_weight": 20.0}
    module = made(TinyWaveform(4), TinyWaveform(4), **weights)
    unseen = mixture(4, 300, seed=99)
    optimizers = {
        player.name: torch.optim.Adam(player.module.parameters(), lr=5e-3)
        for player in module.players()
    }

    def distances() -> dict[str, float]:
        with torch.no_grad():
            return {name: float(value) for name, value in module.losses(unseen, "enhancer").items()}

    before = distances()
    for step in range(40):
        batch = mixture(4, 300, seed=step)
        for name in ("early", "late", "noise"):
            batch[name] = torch.full_like(batch["noisy"], float("nan"))  # type: ignore[literal-required]
        for name, optimizer in optimizers.items():
            optimizer.zero_grad()
            sum(module.losses(batch, name).values()).backward()
            optimizer.step()
    after = distances()
    assert after["cycle"] < 0.6 * before["cycle"]
    assert after["identity"] < 0.3 * before["identity"]


def test_the_discriminators_learn_to_tell_clean_from_noisy() -> None:
    module = made(Gain(), Gain())  # estimates are noisy, degraded speech is clean
    optimizer = torch.optim.Adam(module.discriminators.parameters(), lr=1e-2)
    losses = []
    for step in range(40):
        optimizer.zero_grad()
        loss = sum(module.losses(mixture(8, 300, seed=step), DISCRIMINATORS).values())
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_inverses_have_no_cycle_and_identities_no_identity() -> None:
    batch = mixture(4, 300, seed=0)
    for gain, player in ((0.5, "enhancer"), (0.5, DEGRADER), (1.0, "enhancer"), (1.0, DEGRADER)):
        terms = made(Gain(gain), Gain(1 / gain)).losses(batch, player)
        assert float(terms["cycle"].detach()) < 1e-6
        assert (float(terms["identity"].detach()) < 1e-6) == (gain == 1.0)
    terms = made(Gain(0.5), Gain(1.0), cycle_weight=2.0).losses(batch, "enhancer")
    level = batch["noisy"].abs().mean() + batch["target"].abs().mean()
    torch.testing.assert_close(terms["cycle"].detach(), 2.0 * 0.5 * level)


def test_no_row_gets_its_own_clean_speech() -> None:
    for rows in (1, 2, 5):
        clean = mixture(rows, 300, seed=0)["target"]
        other = unpaired(clean)
        assert all(not torch.equal(one, two) for one, two in zip(clean, other, strict=True))
        assert torch.equal(clean.flatten().sort().values, other.flatten().sort().values)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RasedError, match="CycleConsistent trains enhancers of one channel"):
        made(FourChannels(), Gain())
    with pytest.raises(RasedError, match="without conditions, but Conditional needs speaker"):
        made(Conditional(), Gain())
    with pytest.raises(RasedError, match="Conditional cannot be the degrader: it needs statistics"):
        made(Gain(), Conditional())
    with pytest.raises(RasedError, match="CycleConsistent trains enhancers of one channel"):
        made(Gain(), FourChannels())
    with pytest.raises(RasedError, match="cycle_weight is -1"):
        made(Gain(), Gain(), cycle_weight=-1.0)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.slow
def test_a_stopped_training_continues(tmp_path: Path) -> None:
    assert_continues(NAME, ARGUMENTS, tmp_path)


@pytest.mark.slow
def test_a_run_continues_and_replays(tmp_path: Path) -> None:
    assert_continues_and_replays(NAME, ARGUMENTS, tmp_path)

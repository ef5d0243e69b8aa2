"""Training by a teacher: the student follows it, the teacher stays as it is, and the checkpoint holds neither."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rased
from rased.errors import RasedError
from rased.losses.waveform import L1
from rased.tensors import read_checkpoint
from rased.training.distillation import Distillation
from rased.zoo.frozen import Frozen
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyMask, TinyWaveform, mixture


class Halving(TinyWaveform):
    """A teacher with an opinion of its own: half of the mixture, far from the target."""

    def forward(self, noisy: Tensor, **_: Any) -> Tensor:
        assert not torch.is_grad_enabled()
        return 0.5 * noisy


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().mean().detach())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_student_comes_closer_to_whom_it_follows(share: float) -> None:
    torch.manual_seed(0)
    module = Distillation(TinyWaveform(), Halving(), L1(), teacher_weight=share)
    batch, unseen = mixture(8, 1000, seed=0), mixture(8, 1000, seed=1)
    optimizer = torch.optim.Adam(module.enhancer.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(module.losses(batch, "enhancer").values()).backward()
        optimizer.step()
    with torch.no_grad():
        estimate = module.enhancer(unseen["noisy"])
    from_teacher = distance(estimate, 0.5 * unseen["noisy"])
    from_target = distance(estimate, unseen["target"])
    assert (from_teacher < from_target) == (share == 1.0)


def test_the_terms_are_the_weighted_losses() -> None:
    torch.manual_seed(0)
    module = Distillation(TinyWaveform(), Halving(), L1(), teacher_weight=0.25)
    batch = mixture(4, 500, seed=0)
    estimate = module.enhancer(batch["noisy"])
    terms = {name: value.detach() for name, value in module.losses(batch, "enhancer").items()}
    assert float(terms["l1"]) == pytest.approx(0.75 * distance(estimate, batch["target"]))
    assert float(terms["teacher"]) == pytest.approx(0.25 * distance(estimate, 0.5 * batch["noisy"]))


def test_a_checkpoint_by_name_teaches_and_is_not_changed() -> None:
    """Its estimates are those of `rased.load`, and no weight of it is trained or saved."""
    torch.manual_seed(0)
    module = Distillation(TinyMask(), Frozen("gtcrn-tuned-16k"))
    batch = mixture(2, 2000, seed=0)
    with torch.no_grad():
        wanted = rased.load("gtcrn-tuned-16k")(batch["noisy"])
    module.train()
    torch.testing.assert_close(module.taught(batch), wanted)
    sum(module.losses(batch, "enhancer").values()).backward()
    assert all(item.grad is None for item in module.teacher.parameters())
    assert not any("teacher" in name or "_held" in name for name in module.state_dict())
    assert len(list(module.parameters())) == 2 * len(list(module.enhancer.parameters()))


def test_a_teacher_of_another_rate_is_refused() -> None:
    teacher = Halving()
    teacher.sample_rate = 48_000
    with pytest.raises(RasedError, match="teacher works at 48000 Hz, but the enhancer at 16000 Hz"):
        Distillation(TinyWaveform(), teacher)


ARGUMENTS: dict[str, Any] = {
    "teacher": {"class_path": "rased.zoo.frozen.Frozen", "init_args": {"name": "log-mmse"}},
    "loss": {"class_path": "rased.losses.waveform.L1"},
}
NAME = "distillation.Distillation"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
def test_a_stopped_training_continues(tmp_path: Path) -> None:
    assert_continues(NAME, ARGUMENTS, tmp_path)


@pytest.mark.slow
def test_a_run_continues_and_replays(tmp_path: Path) -> None:
    assert_continues_and_replays(NAME, ARGUMENTS, tmp_path)
    keys = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["state_dict"]
    assert {key.partition(".")[0] for key in keys} == {"enhancer", "average"}

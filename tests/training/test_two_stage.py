"""Two stages: each learns in its phase and rests in the other's, and both learn at the end."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from rased.errors import RasedError
from rased.losses.waveform import L1
from rased.models.cascade import Cascade
from rased.training.two_stage import TwoStage
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import Normed, TinyMask, Tones, mixture
from tests.training.test_by_hand import QUICK

NAME = "two_stage.TwoStage"
TINY = {"class_path": "tests.training.synthetic.TinyMask"}
ARGUMENTS: dict[str, Any] = {
    "enhancer": {"class_path": "rased.models.cascade.Cascade", "init_args": {"stages": [TINY] * 2}},
    "denoise": 0.2,
    "dereverberate": 0.5,
}


def made(**arguments: Any) -> TwoStage:
    torch.manual_seed(0)
    return TwoStage(Cascade([Normed(), TinyMask()]), L1(), **arguments)


def weights(module: TwoStage) -> list[list[Tensor]]:
    """Parameters and statistics of the norms, by stage."""
    return [
        [item.detach().clone() for item in (*stage.parameters(), *stage.buffers())]
        for stage in module.stages.parts
    ]


class Watch(pl.Callback):
    """Which stages moved in each step."""

    def __init__(self) -> None:
        self.moved: list[tuple[str, bool, bool]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        self.before, self.phase = weights(module), module.phase

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        moved = [
            any(not torch.equal(one, other) for one, other in zip(*pair, strict=True))
            for pair in zip(self.before, weights(module), strict=True)
        ]
        self.moved.append((self.phase, *moved))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
def test_each_stage_learns_in_its_phase_and_rests_in_the_other(tmp_path: Path) -> None:
    """Weight decay, momentum and statistics of norms included."""
    module, watch = made(denoise=0.4, dereverberate=0.4, weight_decay=0.1), Watch()
    options = {**QUICK, "max_steps": 10, "max_epochs": -1, "limit_val_batches": 0}
    trainer = pl.Trainer(**options, default_root_dir=tmp_path, callbacks=[watch])
    trainer.fit(module, datamodule=Tones(batches=10, batch_size=2, time=500))
    assert watch.moved == [
        *[("denoise", True, False)] * 4,
        *[("dereverberate", False, True)] * 4,
        *[("jointly", True, True)] * 2,
    ]


@pytest.mark.parametrize("phase", ["denoise", "dereverberate", "jointly"])
def test_each_phase_has_its_target(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stage alone has the reverberant speech, both together the target."""
    monkeypatch.setattr(TwoStage, "phase", phase)
    module, batch = made().eval(), mixture(2, 500, seed=0)
    batch["late"] = batch["noise"].roll(1, 0)
    first = phase == "denoise"
    target = batch["early"] + batch["late"] if first else batch["target"]
    heard = module.stages.predictions(batch["noisy"])[0 if first else 1].estimate
    terms = module.losses(batch, "enhancer")
    torch.testing.assert_close(terms["l1"], (heard - target).abs().mean())
    terms["l1"].backward()
    learns = [
        any(item.grad is not None for item in stage.parameters()) for stage in module.stages.parts
    ]
    assert learns == [phase != "dereverberate", not first]


def test_what_has_no_two_stages_is_refused() -> None:
    with pytest.raises(RasedError, match="a Cascade of two stages, not 1"):
        TwoStage(Cascade([TinyMask()]))
    with pytest.raises(RasedError, match=r"dereverberate is 0\.7"):
        made(denoise=0.5, dereverberate=0.7)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
def test_a_stopped_training_continues(tmp_path: Path) -> None:
    """In the second of three phases."""
    assert_continues(NAME, ARGUMENTS, tmp_path)


@pytest.mark.slow
def test_a_run_continues_and_replays(tmp_path: Path) -> None:
    assert_continues_and_replays(NAME, ARGUMENTS, tmp_path)

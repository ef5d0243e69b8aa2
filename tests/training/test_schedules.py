"""Schedules against those of torch, on the command line, and over a resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from rased.cli.train import train
from rased.errors import RasedError
from rased.training.optimisation import Budget
from rased.training.schedules import Constant, Cosine, Exponential, Plateau, Schedule, Step
from tests.training.test_resume import DATA, MODEL, curve, weights

pytestmark = pytest.mark.usefixtures("unpublished")


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


REFERENCES = {
    "step": (Step(every=3, factor=0.7), lambda made: lr_scheduler.StepLR(made, 3, 0.7)),
    "exponential": (Exponential(factor=0.9), lambda made: lr_scheduler.ExponentialLR(made, 0.9)),
    "cosine": (
        Cosine(final=0.1),
        lambda made: lr_scheduler.CosineAnnealingLR(made, 20, eta_min=0.1),
    ),
    "constant": (Constant(), lambda made: lr_scheduler.ConstantLR(made, factor=1.0)),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_share_is_that_of_torch(name: str) -> None:
    schedule, make = REFERENCES[name]
    optimizer = sgd()
    reference = make(optimizer)
    for epoch in range(20):
        share = schedule.share(Budget(epoch, 20, step=7 * epoch, epoch=epoch))
        assert share == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        reference.step()


def test_steps_may_be_counted_instead_of_epochs() -> None:
    schedule = Step(every=10, factor=0.5, unit="step")
    assert [schedule.share(Budget(0, 1, step=step)) for step in (9, 10, 19, 20)] == [
        1,
        0.5,
        0.5,
        0.25,
    ]
    assert Exponential(0.5, unit="step").share(Budget(0, 1, step=3)) == 0.125


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("patience", "threshold"), [(0, 0.0), (2, 0.0), (1, 0.3)])
def test_a_plateau_is_that_of_torch(mode: Any, patience: int, threshold: float) -> None:
    optimizer = sgd()
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, 0.5, patience, threshold, "abs", min_lr=0.05, eps=0.0
    )
    ours = Plateau(0.5, patience, "valid/loss", mode, threshold, least=0.05)
    scores = torch.randn(60, generator=torch.Generator().manual_seed(0)).tolist()
    for position, score in enumerate(scores):
        ours.observe({"valid/loss": score})
        reference.step(score)
        assert ours.share(Budget(0, 1)) == pytest.approx(optimizer.param_groups[0]["lr"])
        if position == 30:  # as a checkpoint does it
            again = Plateau(0.5, patience, "valid/loss", mode, threshold, least=0.05)
            again.load_state_dict(ours.state_dict())
            ours = again


def test_a_score_that_is_not_finite_is_no_better() -> None:
    schedule = Plateau(factor=0.5, patience=1, mode="max")
    for score in (1.0, float("nan"), float("inf")):
        schedule.observe({"valid/loss": score})
    assert schedule.share(Budget(0, 1)) == 0.5
    assert schedule.best == 1.0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Step(every=0), r"Step\.every is 0; give 1 or more"),
        (lambda: Step(every=1, factor=1.5), r"Step\.factor is 1\.5; give a number from 0 to 1"),
        (lambda: Exponential(factor=-0.1), r"Exponential\.factor is -0\.1"),
        (lambda: Cosine(final=2.0), r"Cosine\.final is 2\.0"),
        (lambda: Plateau(patience=-1), r"Plateau\.patience is -1; give 0 or more"),
        (
            lambda: Plateau(monitor="valid/los").observe({"valid/loss": 0.0}),
            "monitors valid/los, but the validation has no such metric; did you mean 'valid/loss'",
        ),
    ],
)
def test_nonsense_is_one_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(RasedError, match=sentence):
        make()


def config(*callbacks: dict[str, Any], schedule: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    arguments = {**MODEL["init_args"], "schedule": schedule}
    return {
        "trainer": {
            "accelerator": "cpu",
            "log_every_n_steps": 1,
            "max_epochs": 3,
            "num_sanity_val_steps": 0,
            "callbacks": list(callbacks),
            **trainer,
        },
        "model": {**MODEL, "init_args": arguments},
        "data": DATA,
        "run": {"examples": 0, "evaluate": []},
    }


def spec(kind: type[Schedule], **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"rased.training.schedules.{kind.__name__}", "init_args": arguments}


SCHEDULES = {
    "plateau": spec(Plateau, patience=0, threshold=100.0, factor=0.5),
    "step": spec(Step, every=1, factor=0.5),
    "exponential": spec(Exponential, factor=0.9, unit="step"),
    "constant": spec(Constant),
    "cosine": spec(Cosine, final=0.5),
}
RATES = {  # five batches an epoch, three epochs, a warm-up of one step
    "plateau": [1e-3] * 5 + [1e-3] * 5 + [0.5e-3] * 5,
    "step": [1e-3] * 5 + [0.5e-3] * 5 + [0.25e-3] * 5,
    "exponential": [1e-3 * 0.9**step for step in range(15)],
    "constant": [1e-3] * 15,
}


@pytest.mark.parametrize("name", [*RATES, pytest.param("cosine", marks=pytest.mark.slow)])
def test_a_run_follows_it_and_a_resumed_one_goes_on(name: str, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert train(config(schedule=SCHEDULES[name]), whole) == 0
    stop = {
        "class_path": "tests.training.synthetic.Signal",
        "init_args": {"hook": "on_train_batch_end", "count": 12},
    }
    assert train(config(stop, schedule=SCHEDULES[name]), run) == 143
    assert train(config(schedule=SCHEDULES[name]), run) == 0
    assert curve(run) == curve(whole)
    assert all(
        torch.equal(item, weights(whole, "last")[key]) for key, item in weights(run, "last").items()
    )
    rates = [float(rate) for _, rate in sorted(curve(run)["train/lr"].items())]
    assert rates == pytest.approx(RATES.get(name, rates))


def test_a_plateau_without_validation_is_refused(tmp_path: Path) -> None:
    settings = config(schedule=SCHEDULES["plateau"], limit_val_batches=0)
    with pytest.raises(
        RasedError, match=r"Plateau follows valid/loss, but this run has no validation"
    ):
        train(settings, tmp_path / "run")


def test_the_end_of_the_cosine_and_another_schedule_are_refused(tmp_path: Path) -> None:
    settings = config(schedule=SCHEDULES["constant"])
    settings["model"]["init_args"]["final_lr"] = 0.1
    with pytest.raises(RasedError, match=r"^model\.final_lr sets the end of the cosine"):
        train(settings, tmp_path / "run")

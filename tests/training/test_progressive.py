"""Progressive learning: every stage removes a part of the noise, and comes closer to the clean speech."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from rased.errors import RasedError
from rased.models.cascade import Cascade
from rased.signal.ratios import si_sdr, snr
from rased.training.progressive import Progressive
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyMask, mixture

NAME = "progressive.Progressive"
TINY = {"class_path": "tests.training.synthetic.TinyMask"}
ARGUMENTS: dict[str, Any] = {
    "enhancer": {"class_path": "rased.models.cascade.Cascade", "init_args": {"stages": [TINY] * 3}},
    "step_db": 5.0,
}


def made(**arguments: Any) -> Progressive:
    torch.manual_seed(0)
    return Progressive(Cascade([TinyMask(dropout=0.0) for _ in range(3)]), **arguments)


def test_every_stage_comes_closer_to_the_clean_speech_than_the_one_before() -> None:
    module = made(step_db=6.0)
    optimizer = torch.optim.Adam(module.enhancer.parameters(), lr=1e-2)
    for step in range(40):
        optimizer.zero_grad()
        sum(module.losses(mixture(4, 500, seed=step), "enhancer").values()).backward()
        optimizer.step()
    unseen = mixture(8, 500, seed=99)
    with torch.no_grad():
        estimates = [one.estimate for one in module.enhancer.predictions(unseen["noisy"])]
    ratios = [
        float(si_sdr(estimate=estimate, target=unseen["target"]).mean())
        for estimate in (unseen["noisy"], *estimates)
    ]
    assert ratios == sorted(ratios)
    assert min(after - before for before, after in pairwise(ratios)) > 0.5


def test_each_target_has_a_step_more_of_snr_and_the_last_one_no_noise() -> None:
    batch = mixture(4, 500, seed=0)
    *between, last = made(step_db=7.0).targets(batch)
    before = snr(estimate=batch["noisy"], target=batch["target"])
    for number, target in enumerate(between, 1):
        found = snr(estimate=target, target=batch["target"])
        torch.testing.assert_close(found, before + 7.0 * number, rtol=0, atol=1e-3)
    assert torch.equal(last, batch["target"])


def test_the_terms_are_those_of_the_stages() -> None:
    terms = made(stage_weight=0.0).losses(mixture(2, 500, seed=0), "enhancer")
    assert [*terms] == ["stage_1", "stage_2", "clean"]
    assert [bool(value) for value in terms.values()] == [False, False, True]


def test_only_a_cascade_has_stages() -> None:
    with pytest.raises(RasedError, match="step_db is -1"):
        made(step_db=-1.0)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.slow
def test_a_stopped_training_continues(tmp_path: Path) -> None:
    assert_continues(NAME, ARGUMENTS, tmp_path)


@pytest.mark.slow
def test_a_run_continues_and_replays(tmp_path: Path) -> None:
    assert_continues_and_replays(NAME, ARGUMENTS, tmp_path)
